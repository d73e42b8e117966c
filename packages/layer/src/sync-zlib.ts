import { createGunzip, createGzip, createZstdDecompress } from "node:zlib";
import { OcidError } from "@ocid/base";

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

type ZlibKind = "gunzip" | "unzstd" | "gzip";

const engines: Readonly<Record<ZlibKind, () => unknown>> = {
  gunzip: () => createGunzip(),
  unzstd: () => createZstdDecompress(),
  gzip: () => createGzip({ level: 1 }),
};

/** Ends of compressed formats: zlib's Z_FINISH, zstd's ZSTD_e_end has no meaning when inflating. */
const finishFlag = { gunzip: 4, unzstd: 2, gzip: 4 } as const;
const nothing = new Uint8Array(0);

/**
 * Inflates and deflates in one synchronous loop, from a buffer into a buffer, which costs half of what node:zlib's
 * streams cost. It uses the handle inside node:zlib, which is no public interface: a version of Node without it is
 * UNIMPLEMENTED by name. The executables carry a version that the tests ran with; a way around by public streams is
 * still missing.
 */
export class SyncZlib {
  readonly #handle: ZlibHandle;
  readonly #state: Uint32Array;
  readonly #kind: ZlibKind;
  readonly #output: () => Uint8Array;
  #error: OcidError | undefined;

  /** `output` says where the next result is put: each time anew, also after a turn that had none. */
  constructor(kind: ZlibKind, output: () => Uint8Array) {
    const engine = engines[kind]() as unknown as ZlibEngine;
    if (!engine._handle || !engine._writeState)
      throw new OcidError("UNIMPLEMENTED", "this version of Node has no synchronous zlib handle");
    this.#kind = kind;
    this.#handle = engine._handle;
    this.#state = engine._writeState;
    this.#output = output;
    this.#handle.onerror = message => {
      this.#error = new OcidError("DATA_LOSS", `compressed data is damaged: ${message}`);
    };
  }

  /** Takes a chunk and hands each piece of the result to `take`, which must be done with it when it returns. */
  write(chunk: Uint8Array, take: (piece: Uint8Array) => void): void {
    this.#run(0, chunk, take);
  }

  finish(take: (piece: Uint8Array) => void): void {
    if (this.#kind !== "unzstd") this.#run(finishFlag[this.#kind], nothing, take);
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
