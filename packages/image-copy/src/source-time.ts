import { type EventLoopUtilization, performance } from "node:perf_hooks";

/**
 * The time in which nothing was to be done but to wait for a source: not that in which it was held up by whoever takes
 * its bytes, nor that in which this thread was busy, with which no other connection would help.
 */
export class SourceTime {
  readonly #begin: EventLoopUtilization = performance.eventLoopUtilization();
  #holds = 0;
  #heldSince = 0;
  #heldMs = 0;

  /** The source is held up until the promise settles. */
  hold(until: Promise<void>): void {
    if (this.#holds++ === 0) this.#heldSince = performance.now();
    const release = () => {
      if (--this.#holds === 0) this.#heldMs += performance.now() - this.#heldSince;
    };
    until.then(release, release);
  }

  /** Milliseconds so far. */
  get ms(): number {
    const held = this.#heldMs + (this.#holds > 0 ? performance.now() - this.#heldSince : 0);
    // Of time in which it was held up while the thread was busy, too little is told.
    return Math.max(0, performance.eventLoopUtilization(this.#begin).idle - held);
  }
}
