import { join } from "node:path";
import type { Logger } from "@ocid/base";
import type { AppliedLayer } from "@ocid/layer";
import { type DiffId, type Digest, digestBytes, digestHex, parseDiffId, parseDigest } from "@ocid/spec";
import { numberOf, objectOf, type Row, textOf, textsOf, withKeys } from "./go-json.ts";
import { removeLayerDirectory } from "./layer-directory.ts";
import type { Layout } from "./layout.ts";
import { RecordFile } from "./record-file.ts";
import { type LockContext, takeLock } from "./store-lock.ts";

/** A layer of the store. */
export interface LayerRecord {
  readonly id: string;
  readonly parentId: string | undefined;
  readonly names: readonly string[];
  readonly metadata: string | undefined;
  readonly diffId: DiffId | undefined;
  /** Bytes of the uncompressed tar. */
  readonly diffSize: number | undefined;
  readonly compressedDigest: Digest | undefined;
  readonly compressedSize: number | undefined;
  readonly created: string;
}

const keyOrder = [
  "id",
  "names",
  "parent",
  "metadata",
  "mountlabel",
  "created",
  "compressed-diff-digest",
  "compressed-size",
  "diff-digest",
  "toc-digest",
  "diff-size",
  "compression",
  "uidset",
  "gidset",
  "flags",
  "uidmap",
  "gidmap",
  "big-data-names",
] as const;

const compressionNumbers = { none: undefined, bzip2: 1, gzip: 2, xz: 3, zstd: 4 } as const;

/** Ids of a stack of layers as the store computes them: hex of `parent+diff` hashed (§F.4), from the base up. */
export function layerIds(diffIds: readonly DiffId[]): readonly string[] {
  const ids: string[] = [];
  for (const diffId of diffIds) {
    const parent = ids.at(-1);
    ids.push(
      parent === undefined ? digestHex(diffId) : digestHex(digestBytes(`${parent}+${digestHex(diffId)}`)),
    );
  }
  return ids;
}

/** layers.json and volatile-layers.json. */
export class LayerRecords {
  readonly #layout: Layout;
  readonly #logger: Logger;
  readonly #files: readonly RecordFile[];

  constructor(layout: Layout, logger: Logger) {
    this.#layout = layout;
    this.#logger = logger;
    this.#files = [
      new RecordFile(join(layout.layers, "layers.json")),
      new RecordFile(join(layout.layers, "volatile-layers.json")),
    ];
  }

  /** All complete layers, without a lock. */
  list(): readonly LayerRecord[] {
    return this.#files
      .flatMap(file => file.read())
      .filter(row => !isIncomplete(row))
      .map(toLayer);
  }

  find(id: string): LayerRecord | undefined {
    for (const file of this.#files) {
      const row = file.read().find(candidate => candidate["id"] === id);
      if (row && !isIncomplete(row)) return toLayer(row);
    }
    return undefined;
  }

  /** Runs `work` alone on the layers; what died half made or half removed is cleared away before. */
  async change<T>(context: LockContext, work: (change: LayerChange) => Promise<T> | T): Promise<T> {
    using lock = await takeLock(this.#layout.locks.layers, "write", context);
    const stable = this.#files[0]!;
    const volatile = this.#files[1]!;
    const save = (file: RecordFile, rows: readonly Row[]) => {
      lock.touch();
      file.write(rows);
    };
    for (const file of this.#files) {
      const incomplete = file.read().filter(isIncomplete);
      if (incomplete.length === 0) continue;
      for (const row of incomplete) {
        this.#logger.warn("removing a layer that was left incomplete", { layer: row["id"] });
        removeLayerDirectory(this.#layout, row["id"] as string);
      }
      save(
        file,
        file.read().filter(row => !isIncomplete(row)),
      );
    }
    const owner = (id: string) => (volatile.read().some(row => row["id"] === id) ? volatile : stable);
    return await work({
      find: id => this.find(id),
      list: () => this.list(),
      begin: row =>
        save(stable, [
          ...stable.read(),
          withKeys(row, keyOrder, { flags: { ...objectOf(row, "flags"), incomplete: true } }),
        ]),
      complete: row =>
        save(
          stable,
          stable
            .read()
            .map(existing => (existing["id"] === row["id"] ? withKeys(row, keyOrder, {}) : existing)),
        ),
      remove: id => {
        const file = owner(id);
        save(
          file,
          file
            .read()
            .map(row =>
              row["id"] === id
                ? withKeys(row, keyOrder, { flags: { ...objectOf(row, "flags"), incomplete: true } })
                : row,
            ),
        );
        removeLayerDirectory(this.#layout, id);
        save(
          file,
          file.read().filter(row => row["id"] !== id),
        );
      },
    });
  }
}

/** What may be done to the layers while they are locked. */
export interface LayerChange {
  find(id: string): LayerRecord | undefined;
  list(): readonly LayerRecord[];
  /** Notes a layer as incomplete, so that it is cleared away should we die before `complete`. */
  begin(row: Row): void;
  complete(row: Row): void;
  remove(id: string): void;
}

/** The record of an image layer. */
export function imageLayerRow(id: string, parent: string | undefined, applied: AppliedLayer): Row {
  return withKeys({}, keyOrder, {
    id,
    parent,
    created: new Date().toISOString(),
    "compressed-diff-digest": applied.digest,
    "compressed-size": applied.size,
    "diff-digest": applied.diffId,
    "diff-size": applied.diffSize,
    compression: compressionNumbers[applied.compression],
    uidset: applied.uids.length > 0 ? [...applied.uids] : undefined,
    gidset: applied.gids.length > 0 ? [...applied.gids] : undefined,
  });
}

/** The record of a container's writable layer. */
export function containerLayerRow(
  id: string,
  names: readonly string[],
  parent: string | undefined,
  metadata: string,
): Row {
  return withKeys({}, keyOrder, {
    id,
    names: [...names],
    parent,
    metadata,
    created: new Date().toISOString(),
  });
}

function isIncomplete(row: Row): boolean {
  return objectOf(row, "flags")["incomplete"] === true;
}

function toLayer(row: Row): LayerRecord {
  const digest = textOf(row, "diff-digest");
  const compressed = textOf(row, "compressed-diff-digest");
  return {
    id: row["id"] as string,
    parentId: textOf(row, "parent"),
    names: textsOf(row, "names"),
    metadata: textOf(row, "metadata"),
    diffId: digest === undefined ? undefined : parseDiffId(digest),
    diffSize: numberOf(row, "diff-size"),
    compressedDigest: compressed === undefined ? undefined : parseDigest(compressed),
    compressedSize: numberOf(row, "compressed-size"),
    created: textOf(row, "created") ?? "",
  };
}
