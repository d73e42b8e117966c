import { createHash } from "node:crypto";
import { OcidError } from "@ocid/base";
import { type DiffId, type Digest, digestAlgorithm, finishDigest } from "@ocid/spec";
import { type Compression, detectCompression, unsupportedCompression } from "./compression.ts";
import { Crc64 } from "./crc64.ts";
import { entryPath } from "./entry-path.ts";
import { Extractor } from "./extractor.ts";
import { SyncZlib } from "./sync-zlib.ts";
import { show, type TarHeader } from "./tar-header.ts";
import { TarParser, type TarSink } from "./tar-parser.ts";
import { TarSplitWriter } from "./tar-split-writer.ts";

export interface LayerLimits {
  /** Most bytes of the uncompressed tar. Default 128 GiB. */
  readonly maxBytes?: number;
  /** Most entries. Default 5,000,000. */
  readonly maxEntries?: number;
}

export interface LayerTarget extends LayerLimits {
  readonly digest: Digest;
  /** Bytes of the blob. */
  readonly size: number;
  /** Digest of the uncompressed tar, where it is known already. */
  readonly diffId?: DiffId;
  /** An empty directory of the caller's, which nobody else writes to; on failure the caller removes it. */
  readonly directory: string;
  /** Where to write the tar-split; must not exist. */
  readonly tarSplitPath?: string;
}

/** What a layer was, once applied. */
export interface AppliedLayer {
  readonly digest: Digest;
  readonly size: number;
  readonly diffId: DiffId;
  /** Bytes of the uncompressed tar. */
  readonly diffSize: number;
  readonly compression: Compression;
  /** Owners that occur, sorted; whiteouts do not count. */
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  readonly entries: number;
}

const bufferBytes = 256 * 1024;

/**
 * Applies a layer from its blob's bytes as they come: digest, inflate, digest again, parse, write, all before `write`
 * returns. Nothing of it may be used before `finish` has.
 */
export class LayerStream implements TarSink {
  readonly #target: LayerTarget;
  readonly #blobHash: ReturnType<typeof createHash>;
  readonly #tarHash = createHash("sha256");
  readonly #crc = new Crc64(bufferBytes);
  readonly #parser = new TarParser(this);
  readonly #extractor: Extractor;
  readonly #split: TarSplitWriter | undefined;
  readonly #names = new Set<string>();
  readonly #uids = new Set<number>();
  readonly #gids = new Set<number>();
  #compression: Compression | undefined;
  #start: Buffer = Buffer.alloc(0);
  #zlib: SyncZlib | undefined;
  #received = 0;
  #diffSize = 0;
  #entry: TarHeader | undefined;
  #entries = 0;

  constructor(target: LayerTarget) {
    this.#target = target;
    this.#blobHash = createHash(digestAlgorithm(target.digest));
    this.#extractor = new Extractor(target.directory);
    this.#split = target.tarSplitPath === undefined ? undefined : new TarSplitWriter(target.tarSplitPath);
  }

  /** Bytes of the blob taken so far. */
  get received(): number {
    return this.#received;
  }

  write(chunk: Uint8Array): void {
    this.#received += chunk.byteLength;
    if (this.#received > this.#target.size)
      throw new OcidError(
        "DATA_LOSS",
        `layer ${this.#target.digest}: expected ${this.#target.size} bytes, received at least ${this.#received}`,
        { reason: "SizeMismatch" },
      );
    this.#blobHash.update(chunk);
    if (this.#compression !== undefined) return this.#inflate(chunk);
    this.#start = Buffer.concat([this.#start, chunk]);
    if (this.#start.byteLength >= 6) this.#begin();
  }

  finish(): AppliedLayer {
    const { digest, size, diffId } = this.#target;
    if (this.#received !== size)
      throw new OcidError(
        "DATA_LOSS",
        `layer ${digest}: expected ${size} bytes, received ${this.#received}`,
        { reason: "SizeMismatch" },
      );
    const found = finishDigest(this.#blobHash, digestAlgorithm(digest));
    if (found !== digest)
      throw new OcidError("DATA_LOSS", `expected a layer with digest ${digest}, received ${found}`, {
        reason: "DigestMismatch",
      });
    if (this.#compression === undefined) this.#begin();
    this.#zlib?.finish(this.#plain);
    this.#parser.finish();
    const foundDiffId = finishDigest(this.#tarHash) as DiffId;
    if (diffId !== undefined && foundDiffId !== diffId) {
      throw new OcidError(
        "DATA_LOSS",
        `layer ${digest} unpacks to ${foundDiffId}, but the image's config says ${diffId}`,
        { reason: "DiffIdMismatch" },
      );
    }
    this.#extractor.finish();
    this.#split?.finish({ sync: false });
    return {
      digest,
      size,
      diffId: foundDiffId,
      diffSize: this.#diffSize,
      compression: this.#compression ?? "none",
      uids: sorted(this.#uids),
      gids: sorted(this.#gids),
      entries: this.#entries,
    };
  }

  close(): void {
    this.#zlib?.close();
    this.#extractor.close();
    this.#split?.close();
  }

  raw(bytes: Uint8Array): void {
    this.#split?.raw(bytes);
  }

  entry(header: TarHeader): void {
    if (++this.#entries > (this.#target.maxEntries ?? 5_000_000))
      throw new OcidError(
        "RESOURCE_EXHAUSTED",
        `layer ${this.#target.digest} has more than ${this.#target.maxEntries ?? 5_000_000} entries`,
      );
    const path = entryPath(header.name);
    // A second entry of a name could not be rebuilt from the files on disk; other users of the store refuse it too.
    if (this.#names.has(path))
      throw new OcidError("INVALID_ARGUMENT", `archive has two entries with the name ${show(header.name)}`, {
        reason: "DuplicateEntry",
      });
    this.#names.add(path);
    if (!path.slice(path.lastIndexOf("/") + 1).startsWith(".wh.")) {
      this.#uids.add(header.uid);
      this.#gids.add(header.gid);
    }
    this.#extractor.entry(header);
    this.#entry = header;
    this.#crc.reset();
  }

  content(bytes: Uint8Array): void {
    this.#extractor.content(bytes);
    // A sparse file's stored bytes are kept whole: they cannot be told from the file on disk.
    if (this.#entry?.sparse) this.#split?.raw(bytes);
    else if (this.#split) this.#crc.update(bytes);
  }

  endEntry(): void {
    this.#extractor.endEntry();
    const entry = this.#entry;
    if (entry && this.#split && !entry.sparse)
      this.#split.file(entry.name, entry.size, entry.size > 0 ? this.#crc.digest() : undefined);
    this.#entry = undefined;
  }

  #begin(): void {
    this.#compression = detectCompression(this.#start);
    if (this.#compression === "gzip") this.#zlib = new SyncZlib("gunzip", this.#crc.buffer);
    else if (this.#compression === "zstd") this.#zlib = new SyncZlib("unzstd", this.#crc.buffer);
    else if (this.#compression !== "none") throw unsupportedCompression(this.#compression);
    const start = this.#start;
    this.#start = Buffer.alloc(0);
    this.#inflate(start);
  }

  #inflate(chunk: Uint8Array): void {
    if (this.#zlib) return this.#zlib.write(chunk, this.#plain);
    for (let at = 0; at < chunk.byteLength; at += bufferBytes) {
      const piece = chunk.subarray(at, at + bufferBytes);
      this.#crc.buffer.set(piece);
      this.#plain(this.#crc.buffer.subarray(0, piece.byteLength));
    }
  }

  readonly #plain = (piece: Uint8Array): void => {
    this.#diffSize += piece.byteLength;
    const limit = this.#target.maxBytes ?? 128 * 1024 ** 3;
    if (this.#diffSize > limit)
      throw new OcidError(
        "RESOURCE_EXHAUSTED",
        `layer ${this.#target.digest} unpacks to more than ${limit} bytes`,
      );
    this.#tarHash.update(piece);
    this.#parser.write(piece);
  };
}

function sorted(values: ReadonlySet<number>): readonly number[] {
  return [...values].sort((a, b) => a - b);
}
