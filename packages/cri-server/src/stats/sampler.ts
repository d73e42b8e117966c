import { mapAhead } from "../ahead.ts";

/** How often some are looked at. */
const stepMs = 250;
/** The part of a period in which all get their turn: the rest is for a machine that is late. */
const share = 0.9;

export interface SamplerOptions<T> {
  /** 0: nothing is looked at. */
  readonly periodMs: number;
  /** What is to be looked at; asked before each step. */
  readonly things: () => readonly T[];
  /** When the last look at it began, on `performance`'s clock. */
  readonly lastAtMs: (thing: T) => number;
  /** A look; what is wrong with it is told to those who ask, not here. */
  readonly look: (thing: T) => Promise<unknown>;
  /** How many are looked at at once. */
  readonly atOnce: number;
  /** Nobody has asked for two periods. */
  readonly onSilence: () => void;
}

/**
 * Looks at things again, evenly over a period and the oldest look first, so that lists of many are answered from looks
 * that are not older than a period. It works only while somebody asks: after two periods of silence it ends.
 */
export class Sampler<T> implements Disposable {
  readonly #options: SamplerOptions<T>;
  #askedMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(options: SamplerOptions<T>) {
    this.#options = options;
  }

  /** Somebody has asked for a list of them. */
  asked(): void {
    this.#askedMs = performance.now();
    if (this.#options.periodMs === 0 || this.#ended || this.#timer) return;
    this.#next(this.#askedMs, 0);
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }

  /** `owed`: what the time until `sinceMs` had for them and they did not get, in looks. */
  #next(sinceMs: number, owed: number): void {
    this.#timer = setTimeout(() => void this.#step(sinceMs, owed), stepMs).unref();
  }

  async #step(sinceMs: number, owed: number): Promise<void> {
    const { periodMs, things, lastAtMs, look, atOnce, onSilence } = this.#options;
    const now = performance.now();
    if (now - this.#askedMs >= 2 * periodMs) {
      this.#timer = undefined;
      onSilence();
      return;
    }
    const all = things().map(thing => ({ thing, atMs: lastAtMs(thing) }));
    const due = Math.min(all.length, owed + (all.length * (now - sinceMs)) / (share * periodMs));
    const some = all.sort((a, b) => a.atMs - b.atMs).slice(0, due);
    const looks = mapAhead(some, atOnce, ({ thing }) => look(thing).catch(() => {}));
    for await (const _ of looks) if (this.#ended) return;
    this.#next(now, due - some.length);
  }
}
