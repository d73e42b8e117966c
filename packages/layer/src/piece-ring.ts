import { contentAt, type SumMemory, sumMemory } from "./crc64.ts";

const slots = 6;
const slotBytes = 256 * 1024;
const headBytes = 4096 - contentAt;
const ringBytes = headBytes + slots * slotBytes;

// Places of the head, in 32-bit words.
const [written, taken, end, lengths] = [0, 1, 2, 3];

/** How a ring ends: by its writer, because all is there or because the rest is not coming; or by its reader. */
export const ringEnd = { open: 0, complete: 1, abandoned: 2, refused: 3 } as const;

/** Pieces of a stream on their way from one thread to another, in memory that both see: nothing is copied. */
export class PieceRing {
  readonly memory: SumMemory;
  readonly #head: Int32Array;

  constructor(memory: SumMemory = sumMemory(ringBytes)) {
    this.memory = memory;
    this.#head = new Int32Array(memory.buffer, contentAt, lengths + slots);
  }

  /** Makes it usable for the next stream; nobody may be at it. */
  reset(): void {
    this.#head.fill(0);
  }

  get ended(): number {
    return Atomics.load(this.#head, end);
  }

  /** Ends it unless it has ended already. */
  end(how: number): void {
    Atomics.compareExchange(this.#head, end, ringEnd.open, how);
    Atomics.notify(this.#head, written);
    Atomics.notify(this.#head, taken);
  }

  /** The writer's: where the next piece goes; waits for the reader to make room. Undefined when the reader has refused. */
  next(): Uint8Array | undefined {
    const mine = Atomics.load(this.#head, written);
    for (;;) {
      if (this.ended === ringEnd.refused) return undefined;
      const done = Atomics.load(this.#head, taken);
      if (mine - done < slots) return this.#slot(mine % slots, slotBytes);
      Atomics.wait(this.#head, taken, done, waitMs);
    }
  }

  /** The writer's: so many bytes of what `next` gave are a piece. */
  push(length: number): void {
    const mine = Atomics.load(this.#head, written);
    this.#head[lengths + (mine % slots)] = length;
    Atomics.store(this.#head, written, mine + 1);
    Atomics.notify(this.#head, written);
  }

  /** The reader's: hands each piece to `take` until the ring ends; returns how. */
  drain(take: (piece: Uint8Array) => void): number {
    for (let mine = 0; ; ) {
      const there = Atomics.load(this.#head, written);
      if (mine === there) {
        // Asked after the pieces: what was pushed before the end is not missed.
        const how = this.ended;
        if (how === ringEnd.open) Atomics.wait(this.#head, written, there, waitMs);
        else if (how !== ringEnd.complete || Atomics.load(this.#head, written) === mine) return how;
        continue;
      }
      if (this.ended === ringEnd.abandoned) return ringEnd.abandoned;
      take(this.#slot(mine % slots, this.#head[lengths + (mine % slots)]!));
      mine++;
      Atomics.store(this.#head, taken, mine);
      Atomics.notify(this.#head, taken);
    }
  }

  #slot(at: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, contentAt + headBytes + at * slotBytes, length);
  }
}

// `end` wakes both sides, but may come between a look and the wait that follows it.
const waitMs = 20;
