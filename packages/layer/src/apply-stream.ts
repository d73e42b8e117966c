import { createHash } from "node:crypto";
import { OcidError } from "@ocid/base";
import { type DiffId, type Digest, digestAlgorithm, finishDigest } from "@ocid/spec";
import { type Compression, detectCompression, unsupportedCompression } from "./compression.ts";
import { PlainLayer, type PlainSink } from "./plain-layer.ts";
import { SyncZlib } from "./sync-zlib.ts";

export interface LayerLimits {
  /** Most bytes of the uncompressed tar, holes of sparse files included. Default 128 GiB. */
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

/**
 * Applies a layer from its blob's bytes as they come: digest and inflate before `write` returns, and hand the tar on to
 * the sink. Nothing of it may be used before `finish` has.
 */
export class LayerStream {
  readonly #target: LayerTarget;
  readonly #blobHash: ReturnType<typeof createHash>;
  readonly #sink: PlainSink;
  #compression: Compression | undefined;
  #start: Buffer = Buffer.alloc(0);
  #zlib: SyncZlib | undefined;
  #received = 0;

  /** `sink`: where the tar goes. Default: it is unpacked in this thread. */
  constructor(target: LayerTarget, sink: PlainSink = new PlainLayer(target)) {
    this.#target = target;
    this.#blobHash = createHash(digestAlgorithm(target.digest));
    this.#sink = sink;
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

  async finish(): Promise<AppliedLayer> {
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
    this.#zlib?.finish(this.#take);
    const plain = await this.#sink.finish();
    if (diffId !== undefined && plain.diffId !== diffId)
      throw new OcidError(
        "DATA_LOSS",
        `layer ${digest} unpacks to ${plain.diffId}, but the image's config says ${diffId}`,
        { reason: "DiffIdMismatch" },
      );
    return { digest, size, compression: this.#compression ?? "none", ...plain };
  }

  /** Lets go of everything; afterwards nothing writes to the layer's directory any more. */
  async close(): Promise<void> {
    this.#zlib?.close();
    await this.#sink.close();
  }

  #begin(): void {
    this.#compression = detectCompression(this.#start);
    const output = () => this.#sink.next();
    if (this.#compression === "gzip") this.#zlib = new SyncZlib("gunzip", output);
    else if (this.#compression === "zstd") this.#zlib = new SyncZlib("unzstd", output);
    else if (this.#compression !== "none") throw unsupportedCompression(this.#compression);
    const start = this.#start;
    this.#start = Buffer.alloc(0);
    this.#inflate(start);
  }

  #inflate(chunk: Uint8Array): void {
    if (this.#zlib) return this.#zlib.write(chunk, this.#take);
    for (let at = 0; at < chunk.byteLength; ) {
      const output = this.#sink.next();
      const piece = chunk.subarray(at, at + output.byteLength);
      output.set(piece);
      this.#take(output.subarray(0, piece.byteLength));
      at += piece.byteLength;
    }
  }

  readonly #take = (piece: Uint8Array): void => this.#sink.take(piece.byteLength);
}
