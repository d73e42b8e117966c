import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { OcidError, readCapped, wrapError } from "@ocid/base";
import { decompress, detectCompression } from "@ocid/layer";
import { maxManifestBytes } from "@ocid/spec";
import type { CallOptions } from "./image-source.ts";
import { readFileFrom, Spool } from "./spool.ts";
import { readTarIndex, type TarIndex, type TarMember } from "./tar-index.ts";

/** A tar whose files are read where they lie; a compressed one is unpacked into a temporary file first. */
export class ArchiveFile implements AsyncDisposable {
  /** Of the uncompressed tar. */
  readonly path: string;
  readonly #name: string;
  readonly #index: TarIndex;
  readonly #spool: Spool;

  private constructor(path: string, name: string, index: TarIndex, spool: Spool) {
    this.path = path;
    this.#name = name;
    this.#index = index;
    this.#spool = spool;
  }

  /** `name` stands for the archive in errors. */
  static async open(path: string, name: string, options: CallOptions = {}): Promise<ArchiveFile> {
    const spool = new Spool();
    try {
      const plain = await uncompressed(path, spool, options);
      return new ArchiveFile(plain, name, await readTarIndex(plain, options.signal), spool);
    } catch (error) {
      await spool[Symbol.asyncDispose]();
      throw wrapError(name, error);
    }
  }

  find(name: string): TarMember | undefined {
    return this.#index.find(name);
  }

  get(name: string): TarMember {
    const member = this.#index.find(name);
    if (!member) throw new OcidError("NOT_FOUND", `${this.#name} has no file ${name}`);
    return member;
  }

  read(member: TarMember, offset = 0, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    if (offset >= member.size) return (async function* () {})();
    return createReadStream(this.path, {
      start: member.offset + offset,
      end: member.offset + member.size - 1,
      highWaterMark: 1024 * 1024,
      signal,
    });
  }

  /** A manifest, config or index. */
  async readSmall(name: string): Promise<Uint8Array> {
    return await readCapped(this.read(this.get(name)), maxManifestBytes, `${name} of ${this.#name}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#spool[Symbol.asyncDispose]();
  }
}

async function uncompressed(path: string, spool: Spool, options: CallOptions): Promise<string> {
  const file = await open(path, "r");
  const start = Buffer.alloc(6);
  try {
    await file.read(start, 0, 6, 0);
  } finally {
    await file.close();
  }
  if (detectCompression(start) === "none") return path;
  return (await spool.write(decompress(readFileFrom(path), options.signal), options)).path;
}
