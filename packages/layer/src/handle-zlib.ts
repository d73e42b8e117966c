import { OcidError } from "@ocid/base";
import { openZlib, type ZlibKind, type ZlibParts } from "./zlib-kinds.ts";

interface ZlibHandle {
  writeSync(
    flush: number,
    input: Uint8Array,
    inputAt: number,
    inputLength: number,
    output: Uint8Array,
    outputAt: number,
    outputLength: number,
  ): void;
  close(): void;
  onerror: (message: string, errno: number, code: string) => void;
}

interface ZlibEngine {
  readonly _handle?: ZlibHandle;
  /** After a write: free bytes of the output, unread bytes of the input. */
  readonly _writeState?: Uint32Array;
}

/** Ends of compressed formats: zlib's Z_FINISH; zstd's ZSTD_e_end has no meaning when inflating. */
const finishFlag = { gunzip: 4, unzstd: undefined, gzip: 4 } as const;
const nothing = new Uint8Array(0);

/**
 * By the handle inside node:zlib, which is no public interface: one synchronous loop from a buffer into a buffer, at half
 * of what node:zlib's streams cost.
 */
export class HandleZlib implements ZlibParts {
  readonly #handle: ZlibHandle;
  readonly #state: Uint32Array;
  readonly #kind: ZlibKind;
  readonly #output: () => Uint8Array;
  #error: OcidError | undefined;

  private constructor(handle: ZlibHandle, state: Uint32Array, kind: ZlibKind, output: () => Uint8Array) {
    this.#kind = kind;
    this.#handle = handle;
    this.#state = state;
    this.#output = output;
    handle.onerror = message => {
      this.#error = new OcidError("DATA_LOSS", `compressed data is damaged: ${message}`);
    };
  }

  /** Undefined where this version of Node has no such handle. */
  static open(kind: ZlibKind, output: () => Uint8Array): HandleZlib | undefined {
    const { _handle: handle, _writeState: state } = openZlib(kind) as unknown as ZlibEngine;
    if (typeof handle?.writeSync !== "function" || !(state instanceof Uint32Array)) return undefined;
    return new HandleZlib(handle, state, kind, output);
  }

  write(chunk: Uint8Array, take: (piece: Uint8Array) => void): void {
    this.#run(0, chunk, take);
  }

  finish(take: (piece: Uint8Array) => void): void {
    const flush = finishFlag[this.#kind];
    if (flush !== undefined) this.#run(flush, nothing, take);
  }

  close(): void {
    this.#handle.close();
  }

  #run(flush: number, chunk: Uint8Array, take: (piece: Uint8Array) => void): void {
    let at = 0;
    for (;;) {
      const output = this.#output();
      const left = chunk.byteLength - at;
      this.#handle.writeSync(flush, chunk, at, left, output, 0, output.byteLength);
      if (this.#error) throw this.#error;
      const [free = 0, unread = 0] = this.#state;
      const made = output.byteLength - free;
      if (made > 0) take(output.subarray(0, made));
      const used = left - unread;
      at = chunk.byteLength - unread;
      if (free > 0 && (unread === 0 || (used === 0 && made === 0))) {
        if (unread > 0)
          throw new OcidError("DATA_LOSS", `compressed data is damaged: ${unread} bytes after its end`);
        return;
      }
    }
  }
}
