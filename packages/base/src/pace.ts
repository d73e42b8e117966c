import { OcidError } from "./error.ts";

export interface PaceOptions {
  /** Slower than this on the average of a window is too slow. Default 1024. */
  readonly bytesPerSecond?: number;
  /** Length of a window. Default 30,000. */
  readonly windowMs?: number;
}

/**
 * Notices who sends a byte now and then, to be waited for without end: silence has its own timeout, dripping has none.
 * Only time spent waiting for the sender is to be counted.
 */
export class Pace {
  readonly #bytesPerSecond: number;
  readonly #windowMs: number;
  #bytes = 0;
  #waitedMs = 0;

  constructor({ bytesPerSecond = 1024, windowMs = 30_000 }: PaceOptions = {}) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#windowMs = windowMs;
  }

  /** Takes note of bytes that arrived after a wait; fails with UNAVAILABLE (`TooSlow`) when they are too few. */
  note(bytes: number, waitedMs: number, what: string): void {
    this.#bytes += bytes;
    this.#waitedMs += waitedMs;
    if (this.#waitedMs < this.#windowMs) return;
    const found = (this.#bytes * 1000) / this.#waitedMs;
    this.#bytes = 0;
    this.#waitedMs = 0;
    if (found < this.#bytesPerSecond)
      throw new OcidError(
        "UNAVAILABLE",
        `${what} sends ${Math.floor(found)} bytes in a second, less than ${this.#bytesPerSecond}: too slow to wait for`,
        { reason: "TooSlow" },
      );
  }
}
