import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { type Digest, finishDigest } from "@ocid/spec";
import type { CallOptions } from "./image-source.ts";

/** As for unpacking: what inflates to more is an attack, or a mistake. */
const maxSpooledBytes = 128 * 1024 ** 3;

export interface SpooledBlob {
  readonly path: string;
  readonly digest: Digest;
  readonly size: number;
}

/**
 * Files for content of which digest and size must be known before it can be sent, in a temporary directory that goes
 * when the spool is disposed of.
 */
export class Spool implements AsyncDisposable {
  readonly #parent: string;
  #directory: Promise<string> | undefined;
  #files = 0;

  /** `parent` defaults to TMPDIR, or where the system keeps large temporary files. */
  constructor(parent: string = largeTemporaryDirectory()) {
    this.#parent = parent;
  }

  /** A name for a file in the spool. */
  async newPath(): Promise<string> {
    this.#directory ??= mkdtemp(join(this.#parent, "ocid-spool-"));
    return join(await this.#directory, String(this.#files++));
  }

  async write(chunks: AsyncIterable<Uint8Array>, { signal }: CallOptions = {}): Promise<SpooledBlob> {
    const path = await this.newPath();
    const hash = createHash("sha256");
    const file = await open(path, "wx", 0o600);
    let size = 0;
    try {
      for await (const chunk of chunks) {
        signal?.throwIfAborted();
        hash.update(chunk);
        size += chunk.byteLength;
        if (size > maxSpooledBytes)
          throw new OcidError("RESOURCE_EXHAUSTED", `a layer has more than ${maxSpooledBytes} bytes`);
        await file.appendFile(chunk);
      }
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    } finally {
      await file.close();
    }
    return { path, digest: finishDigest(hash), size };
  }

  async remove(blob: SpooledBlob): Promise<void> {
    await rm(blob.path, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const directory = await this.#directory;
    this.#directory = undefined;
    if (directory !== undefined) await rm(directory, { recursive: true, force: true });
  }
}

/** /tmp is often memory. */
function largeTemporaryDirectory(): string {
  return process.env["TMPDIR"] === undefined && existsSync("/var/tmp") ? "/var/tmp" : tmpdir();
}

export function readFileFrom(path: string, offset = 0, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  return createReadStream(path, { start: offset, highWaterMark: 1024 * 1024, signal });
}
