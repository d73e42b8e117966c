/** Those who ask within this time get the same: the kubelet and who watches a node often ask at once. */
export const sharedMs = 500;

/**
 * From when on looks count for lists of many. None of them tells a look that an earlier one has told, so that whoever asks
 * twice sees what was used in between (`crictl stats` fails where nothing has changed); but they share within half a second.
 */
export class ListTimes {
  readonly #periodMs: number;
  #beganMs = Number.NEGATIVE_INFINITY;
  #sinceMs = Number.NEGATIVE_INFINITY;
  #endedMs = Number.NEGATIVE_INFINITY;

  /** `periodMs`: how old a look may be at most. */
  constructor(periodMs: number) {
    this.#periodMs = periodMs;
  }

  /** A list begins: for it count looks that were begun after the time returned, on `performance`'s clock. */
  begin(): number {
    const now = performance.now();
    if (now - this.#beganMs >= sharedMs) {
      this.#beganMs = now;
      this.#sinceMs = Math.max(this.#endedMs, now - Math.max(this.#periodMs, sharedMs));
    }
    return this.#sinceMs;
  }

  /** A list has told all of its looks. */
  end(): void {
    this.#endedMs = performance.now();
  }
}
