interface Look<R> {
  readonly atMs: number;
  readonly result: R;
}

/** Looks at things that several callers want to know about; the last one of each is kept. */
export class RecentLooks<T extends object, R> {
  #last = new WeakMap<T, Look<R>>();
  #underWay = new WeakMap<T, Look<Promise<R>>>();

  /** What the last look has found, if it was begun after `sinceMs`, on `performance`'s clock. */
  known(thing: T, sinceMs: number): R | undefined {
    const last = this.#last.get(thing);
    return last && last.atMs > sinceMs ? last.result : undefined;
  }

  /**
   * The same, or what such a look is about to find; else `look` is asked, as it always is with Infinity. A failure serves
   * nobody else.
   */
  async at(thing: T, sinceMs: number, look: () => Promise<R>): Promise<R> {
    // What is known comes before what is waited for: a look at a large layer takes its time.
    const known = this.known(thing, sinceMs);
    if (known !== undefined) return known;
    const atMs = performance.now();
    const [last, underWay] = [this.#last, this.#underWay];
    const joined = underWay.get(thing);
    if (joined && joined.atMs > sinceMs) return await joined.result;
    const begun = { atMs, result: look() };
    underWay.set(thing, begun);
    try {
      const result = await begun.result;
      // Of two at once the later is the newer, whichever ends first.
      if ((last.get(thing)?.atMs ?? 0) <= atMs) last.set(thing, { atMs, result });
      return result;
    } finally {
      if (underWay.get(thing) === begun) underWay.delete(thing);
    }
  }

  /** When the last look at it began, on `performance`'s clock; -Infinity before the first. */
  lastAtMs(thing: T): number {
    return Math.max(
      this.#last.get(thing)?.atMs ?? Number.NEGATIVE_INFINITY,
      this.#underWay.get(thing)?.atMs ?? Number.NEGATIVE_INFINITY,
    );
  }

  forget(): void {
    this.#last = new WeakMap();
    this.#underWay = new WeakMap();
  }
}
