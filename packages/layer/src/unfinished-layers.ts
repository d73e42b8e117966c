/** Smaller layers are not worth a second thread. */
const worthTwoThreads = 4 * 1024 * 1024;
/** One that outweighs the others by less ends soon after them: a second thread would cost more memory and win no time. */
const outweighing = 1.25;

/** What the layers that wait or are being applied still have to take. */
export class UnfinishedLayers {
  readonly #left = new Map<object, number>();

  /** `size`: bytes of its blob. */
  begin(layer: object, size: number): void {
    this.#left.set(layer, size);
  }

  note(layer: object, left: number): void {
    if (this.#left.has(layer)) this.#left.set(layer, left);
  }

  end(layer: object): void {
    this.#left.delete(layer);
  }

  /** Whether a layer would go on alone when all others are done: it decides when the image is there. */
  isLast(layer: object): boolean {
    const own = this.#left.get(layer) ?? 0;
    let others = -own;
    for (const left of this.#left.values()) others += left;
    return own >= worthTwoThreads && own > others * outweighing;
  }
}
