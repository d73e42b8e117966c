const pieceBytes = 256 * 1024;
/** Whoever brings bytes waits once so many pieces do. */
const piecesAhead = 4;

/**
 * Bytes on their way from a socket to a file or to another socket: gathered in a few buffers, which are filled again and
 * again, so that both sides work at the same time. Neither side makes garbage.
 */
export class PieceQueue {
  readonly #full: Buffer[] = [];
  readonly #free: Buffer[] = [];
  #filling: Buffer | undefined;
  #filled = 0;
  #end: { readonly error?: unknown } | undefined;
  #isLeft = false;
  #arrived = Promise.withResolvers<void>();
  #room: PromiseWithResolvers<void> | undefined;

  /** Copies bytes in, always; a promise asks to wait until it resolves before there are more. */
  put(bytes: Uint8Array): Promise<void> | undefined {
    if (this.#isLeft) return undefined;
    for (let at = 0; at < bytes.byteLength; ) {
      this.#filling ??= this.#free.pop() ?? Buffer.allocUnsafeSlow(pieceBytes);
      const some = bytes.subarray(at, at + pieceBytes - this.#filled);
      this.#filling.set(some, this.#filled);
      this.#filled += some.byteLength;
      at += some.byteLength;
      if (this.#filled === pieceBytes) this.#pass(this.#filling);
    }
    if (this.#full.length < piecesAhead) return undefined;
    this.#room ??= Promise.withResolvers();
    return this.#room.promise;
  }

  /** There is no more, because of `error` if one is given; what came before it is still handed out. */
  end(error?: unknown): void {
    if (this.#filling && this.#filled > 0) this.#pass(this.#filling.subarray(0, this.#filled));
    this.#end = error === undefined ? {} : { error };
    this.#arrived.resolve();
  }

  /** All bytes in their order; the memory of a piece is used again when the next one is asked for. */
  async *pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        const piece = this.#full.shift();
        if (piece) {
          if (this.#full.length < piecesAhead) this.#giveRoom();
          yield piece;
          if (piece.byteLength === pieceBytes) this.#free.push(piece);
        } else if (this.#end) {
          if (this.#end.error !== undefined) throw this.#end.error;
          return;
        } else {
          await this.#arrived.promise;
          this.#arrived = Promise.withResolvers();
        }
      }
    } finally {
      this.#isLeft = true;
      this.#giveRoom();
    }
  }

  #pass(piece: Buffer): void {
    this.#full.push(piece);
    this.#filling = undefined;
    this.#filled = 0;
    this.#arrived.resolve();
  }

  #giveRoom(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }
}
