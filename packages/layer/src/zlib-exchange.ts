/** Whose turn it is: the caller's while it has nothing to wait for, the thread's while it works. */
export const turn = { working: 0, piece: 1, done: 2, failed: 3 } as const;

const headBytes = 8;
const pieceBytes = 256 * 1024;

/** Memory through which a caller that waits and the thread that works for it hand over one piece at a time. */
export class ZlibExchange {
  readonly memory: SharedArrayBuffer;
  /** Whose turn it is, and how long the piece is. */
  readonly #head: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(headBytes + pieceBytes)) {
    this.memory = memory;
    this.#head = new Int32Array(memory, 0, 2);
    this.#bytes = new Uint8Array(memory, headBytes);
  }

  /** The piece, or why it failed, as text. */
  get piece(): Uint8Array {
    return this.#bytes.subarray(0, this.#head[1]);
  }

  /** Gives the turn to the other side, with as much of `bytes` as fits; returns what does not. */
  give(whose: number, bytes: Uint8Array = new Uint8Array(0)): Uint8Array {
    const part = bytes.subarray(0, pieceBytes);
    this.#bytes.set(part);
    this.#head[1] = part.byteLength;
    Atomics.store(this.#head, 0, whose);
    Atomics.notify(this.#head, 0);
    return bytes.subarray(part.byteLength);
  }

  /** Waits while it is `whose` turn and returns whose it is then; still the same when the time is over. */
  waitWhile(whose: number, timeoutMs?: number): number {
    Atomics.wait(this.#head, 0, whose, timeoutMs);
    return Atomics.load(this.#head, 0);
  }
}
