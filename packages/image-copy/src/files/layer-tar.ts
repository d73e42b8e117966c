import { open } from "node:fs/promises";
import { OcidError } from "@ocid/base";
import { decompress, readTar } from "@ocid/layer";
import { type Descriptor, type DiffId, verifyStream } from "@ocid/spec";
import { checkDiffId } from "../check-diff-id.ts";
import { readingFrom } from "../copy-side.ts";
import type { CallOptions, ImageSource } from "../image-source.ts";
import { readFileFrom, type Spool } from "../spool.ts";

/** One layer of an image whose files are read. */
export interface LayerToRead {
  readonly descriptor: Descriptor;
  readonly diffId: DiffId;
  /** Place in the manifest. */
  readonly at: number;
}

/** What a layer may unpack to: real ones hardly ever do to a hundred times their size, bombs do to any. */
export function mostBytes({ descriptor }: LayerToRead): number {
  return Math.max(8 * 1024 ** 3, 256 * descriptor.size);
}

/** Layers' archives, each fetched once: what has been read is kept in the spool for reading again. */
export class LayerTars {
  readonly #source: ImageSource;
  readonly #spool: Spool | undefined;
  readonly #kept = new Map<string, string>();

  /** Without a spool nothing is kept. */
  constructor(source: ImageSource, spool?: Spool) {
    this.#source = source;
    this.#spool = spool;
  }

  /** The uncompressed tar, verified to its end: nothing of it is to be believed before that. */
  async *open(layer: LayerToRead, { signal }: CallOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    signal?.throwIfAborted();
    const { unpacked, name } = this.#source;
    if (unpacked) {
      yield* readingFrom(name, checkDiffId(unpacked.openTar(layer.at, { signal }), layer.diffId));
      return;
    }
    const kept = this.#kept.get(layer.descriptor.digest);
    if (kept !== undefined) {
      yield* decompress(readFileFrom(kept, 0, signal), signal);
      return;
    }
    let whole = false;
    const fetch = this.#fetch(layer, signal);
    const blob = async function* () {
      yield* fetch;
      whole = true;
    };
    yield* decompress(blob(), signal);
    if (!whole)
      throw new OcidError(
        "DATA_LOSS",
        `layer ${layer.descriptor.digest} of ${name} has something after its compressed data`,
      );
  }

  /** The content of one entry. */
  async *content(
    layer: LayerToRead,
    at: number,
    options: CallOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    let found = false;
    for await (const piece of readTar(this.open(layer, options), { wants: entry => entry.at === at })) {
      if (piece.kind === "entry") found = piece.entry.at === at;
      else if (piece.kind === "content") yield piece.bytes;
      else if (found) return;
    }
  }

  async *#fetch(
    { descriptor }: LayerToRead,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const blob = readingFrom(
      this.#source.name,
      verifyStream(this.#source.openBlob(descriptor, { signal }), descriptor),
    );
    if (!this.#spool) {
      yield* blob;
      return;
    }
    const path = await this.#spool.newPath();
    const file = await open(path, "wx", 0o600);
    try {
      for await (const chunk of blob) {
        await file.appendFile(chunk);
        yield chunk;
      }
    } finally {
      await file.close();
    }
    this.#kept.set(descriptor.digest, path);
  }
}
