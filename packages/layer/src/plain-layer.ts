import { createHash } from "node:crypto";
import { OcidError } from "@ocid/base";
import { type DiffId, finishDigest } from "@ocid/spec";
import type { AppliedLayer, LayerTarget } from "./apply-stream.ts";
import { Crc64 } from "./crc64.ts";
import { entryPath } from "./entry-path.ts";
import { Extractor } from "./extractor.ts";
import { NameSet } from "./name-set.ts";
import { show, type TarHeader } from "./tar-header.ts";
import { TarParser, type TarSink } from "./tar-parser.ts";
import { TarSplitWriter } from "./tar-split-writer.ts";

/** What is known of a layer from its tar alone. */
export type PlainFacts = Pick<AppliedLayer, "diffId" | "diffSize" | "uids" | "gids" | "entries">;

/** Takes a layer's uncompressed tar, piece by piece. */
export interface PlainSink {
  /** Where the next piece is to be put; the same until one is taken. */
  next(): Uint8Array;
  /** Takes so many bytes of what `next` gave. */
  take(length: number): void;
  /** Everything was taken. */
  finish(): Promise<PlainFacts>;
  /** Resolves when nothing writes to the layer's directory any more. */
  close(): Promise<void>;
}

/**
 * Sums of layers that are done, with their memory: a thread that unpacks small layers would see many megabytes of it
 * before its heap is collected.
 */
const spareSums: Crc64[] = [];

/** Digests, parses and writes a layer's tar in this thread, all before `take` returns. */
export class PlainLayer implements PlainSink, TarSink {
  readonly #target: LayerTarget;
  readonly #tarHash = createHash("sha256");
  readonly #crc: Crc64;
  readonly #isOwnSum: boolean;
  readonly #parser = new TarParser(this);
  readonly #extractor: Extractor;
  readonly #split: TarSplitWriter | undefined;
  readonly #names = new NameSet();
  readonly #uids = new Set<number>();
  readonly #gids = new Set<number>();
  #diffSize = 0;
  #holeBytes = 0;
  #entry: TarHeader | undefined;
  #entries = 0;

  /** `crc`: whose memory the pieces come in; default one of its own. */
  constructor(target: LayerTarget, crc?: Crc64) {
    this.#target = target;
    this.#crc = crc ?? spareSums.pop() ?? new Crc64();
    this.#isOwnSum = crc === undefined;
    this.#extractor = new Extractor(target.directory);
    this.#split = target.tarSplitPath === undefined ? undefined : new TarSplitWriter(target.tarSplitPath);
  }

  next(): Uint8Array {
    return this.#crc.buffer;
  }

  take(length: number): void {
    this.write(this.#crc.buffer.subarray(0, length));
  }

  /** Takes a piece that lies in the memory of the sum. */
  write(piece: Uint8Array): void {
    this.#diffSize += piece.byteLength;
    this.#limit();
    this.#tarHash.update(piece);
    this.#parser.write(piece);
  }

  #limit(): void {
    const limit = this.#target.maxBytes ?? 128 * 1024 ** 3;
    if (this.#diffSize + this.#holeBytes > limit)
      throw new OcidError(
        "RESOURCE_EXHAUSTED",
        `layer ${this.#target.digest} unpacks to more than ${limit} bytes`,
      );
  }

  async finish(): Promise<PlainFacts> {
    return this.finishNow();
  }

  finishNow(): PlainFacts {
    this.#parser.finish();
    this.#extractor.finish();
    this.#split?.finish({ sync: false });
    return {
      diffId: finishDigest(this.#tarHash) as DiffId,
      diffSize: this.#diffSize,
      uids: sorted(this.#uids),
      gids: sorted(this.#gids),
      entries: this.#entries,
    };
  }

  async close(): Promise<void> {
    this.closeNow();
  }

  closeNow(): void {
    this.#extractor.close();
    this.#split?.close();
    if (this.#isOwnSum) spareSums.push(this.#crc);
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
    if (!this.#names.add(path))
      throw new OcidError("INVALID_ARGUMENT", `archive has two entries with the name ${show(header.name)}`, {
        reason: "DuplicateEntry",
      });
    if (!path.slice(path.lastIndexOf("/") + 1).startsWith(".wh.")) {
      this.#uids.add(header.uid);
      this.#gids.add(header.gid);
    }
    // Holes take no space, until somebody reads them: other tools write them out.
    if (header.sparse) {
      this.#holeBytes += Math.max(0, header.sparse.size - header.size);
      this.#limit();
    }
    this.#extractor.entry(header, path);
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
}

function sorted(values: ReadonlySet<number>): readonly number[] {
  return [...values].sort((a, b) => a - b);
}
