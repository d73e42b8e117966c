import { constants, createInflate, type Inflate } from "node:zlib";
import { OcidError } from "@ocid/base";
import { spdyDictionary } from "./dictionary.ts";

const maxBlockBytes = 64 * 1024;
const maxHeaders = 100;

/** Reads name/value header blocks (SPDY/3.1 draft, section 2.6.10), which are one compressed stream for the whole connection. */
export class HeaderBlockReader {
  readonly #inflate: Inflate = createInflate({
    dictionary: spdyDictionary,
    flush: constants.Z_SYNC_FLUSH,
    finishFlush: constants.Z_SYNC_FLUSH,
    chunkSize: 4096,
  });
  #chunks: Buffer[] = [];
  #size = 0;
  #failure: Error | undefined;

  constructor() {
    this.#inflate.on("data", (chunk: Buffer) => {
      this.#size += chunk.byteLength;
      if (this.#size <= maxBlockBytes) this.#chunks.push(chunk);
      else this.#fail(new OcidError("INVALID_ARGUMENT", `header block of more than ${maxBlockBytes} bytes`));
    });
    this.#inflate.on("error", error => {
      this.#failure = error;
    });
  }

  /** Lower-case names to their first value. Every block must pass through here, also of streams that are refused. */
  async read(block: Buffer): Promise<ReadonlyMap<string, string>> {
    this.#chunks = [];
    this.#size = 0;
    await new Promise<void>((resolve, reject) => {
      if (this.#failure) return reject(this.#failure);
      const fail = (error: Error) => reject(error);
      this.#inflate.once("error", fail);
      this.#inflate.write(block, error => {
        this.#inflate.off("error", fail);
        if (error) reject(error);
        else resolve();
      });
    });
    if (this.#failure) throw this.#failure;
    return parseHeaders(Buffer.concat(this.#chunks));
  }

  #fail(error: Error): void {
    this.#failure = error;
    this.#inflate.destroy();
  }

  close(): void {
    this.#inflate.destroy();
  }
}

/** @internal Exported for tests. */
export function parseHeaders(bytes: Buffer): ReadonlyMap<string, string> {
  const headers = new Map<string, string>();
  let at = 0;
  const number = (): number => {
    if (at + 4 > bytes.byteLength) throw new OcidError("INVALID_ARGUMENT", "header block ends early");
    at += 4;
    return bytes.readUInt32BE(at - 4);
  };
  const text = (): string => {
    const length = number();
    if (at + length > bytes.byteLength) throw new OcidError("INVALID_ARGUMENT", "header block ends early");
    at += length;
    return bytes.toString("utf8", at - length, at);
  };
  const count = number();
  if (count > maxHeaders) throw new OcidError("INVALID_ARGUMENT", `header block of ${count} headers`);
  for (let left = count; left > 0; left--) {
    const name = text().toLowerCase();
    headers.set(name, text().split("\0", 1)[0]!);
  }
  return headers;
}
