/** Looks at things of which several callers want to know at about the same time. */
export class RecentLooks<T extends object, R> {
  readonly #maxAgeMs: number;
  readonly #looks = new WeakMap<T, { readonly atMs: number; readonly result: Promise<R> }>();

  /** `maxAgeMs`: how long a look, from its beginning, serves others too. */
  constructor(maxAgeMs: number) {
    this.#maxAgeMs = maxAgeMs;
  }

  /** What a look that is not too old has found, or is about to find; else `look` is asked. A failure serves nobody else. */
  at(thing: T, look: () => Promise<R>): Promise<R> {
    const now = performance.now();
    const last = this.#looks.get(thing);
    if (last && now - last.atMs < this.#maxAgeMs) return last.result;
    const result = look();
    this.#looks.set(thing, { atMs: now, result });
    result.catch(() => this.#looks.delete(thing));
    return result;
  }
}
