import { HandleZlib } from "./handle-zlib.ts";
import { ThreadZlib } from "./thread-zlib.ts";
import type { ZlibKind, ZlibParts } from "./zlib-kinds.ts";

/**
 * Inflates and deflates in the middle of a synchronous loop: by the handle inside node:zlib, and where a version of Node
 * has none, by its public streams in a thread of their own. Damaged data is DATA_LOSS.
 */
export class SyncZlib implements ZlibParts {
  readonly #parts: ZlibParts;

  /** `output` says where the next result is put: each time anew, also after a turn that had none. */
  constructor(kind: ZlibKind, output: () => Uint8Array) {
    this.#parts = HandleZlib.open(kind, output) ?? new ThreadZlib(kind, output);
  }

  write(chunk: Uint8Array, take: (piece: Uint8Array) => void): void {
    this.#parts.write(chunk, take);
  }

  finish(take: (piece: Uint8Array) => void): void {
    this.#parts.finish(take);
  }

  close(): void {
    this.#parts.close();
  }
}
