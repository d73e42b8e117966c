import { Semaphore } from "./semaphore.ts";

/** One holder per key at a time, in the order in which they came; keys that nobody holds take no memory. */
export class KeyedLock {
  readonly #locks = new Map<string, { readonly semaphore: Semaphore; users: number }>();

  async run<T>(key: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const lock = this.#locks.get(key) ?? { semaphore: new Semaphore(1), users: 0 };
    this.#locks.set(key, lock);
    lock.users++;
    try {
      return await lock.semaphore.run(work, signal);
    } finally {
      if (--lock.users === 0) this.#locks.delete(key);
    }
  }
}
