import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Logger, messageOf } from "@ocid/base";
import type { AppliedLayer } from "@ocid/layer";
import { type DiffId, type Digest, digestBytes, digestHex } from "@ocid/spec";
import { asDigest, numberOf, objectOf, type Row, textOf, textsOf, withKeys } from "./go-json.ts";
import { type IdMappings, toRecord } from "./id-mapping.ts";
import { discardLayerData, discardLayerFiles } from "./layer-directory.ts";
import { type Layout, placesOf } from "./layout.ts";
import { type LockedRecords, RecordSet } from "./record-set.ts";
import type { LockContext } from "./store-lock.ts";
import { Trash } from "./trash.ts";

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
  readonly #places: readonly Layout[];
  readonly #records: RecordSet;

  constructor(layout: Layout, logger: Logger) {
    this.#layout = layout;
    this.#logger = logger;
    this.#places = placesOf(layout);
    this.#records = new RecordSet(
      ...this.#places.map(({ locks, layers, overlay }) => ({
        lock: locks.layers,
        files: [join(layers, "layers.json"), join(layers, "volatile-layers.json")],
        directory: overlay,
      })),
    );
  }

  /** All complete layers, without a lock. */
  list(): readonly LayerRecord[] {
    return this.#records
      .rows()
      .filter(row => !isIncomplete(row))
      .map(toLayer);
  }

  /** Ids of all layers, the incomplete ones included. */
  all(): readonly string[] {
    return this.#records.rows().map(row => row["id"] as string);
  }

  find(id: string): LayerRecord | undefined {
    const row = this.#records.find(id);
    return row && !isIncomplete(row) ? toLayer(row) : undefined;
  }

  /** Where the directory of a layer is, complete or not; undefined when it has no record. */
  layoutOf(id: string): Layout | undefined {
    return this.#places[this.#records.placeOf(id) ?? this.#places.length];
  }

  /**
   * Runs `work` alone on the layers; what died half made or half removed is cleared away before. What `work` removes is
   * deleted after the lock is given back.
   */
  async change<T>(context: LockContext, work: (change: LayerChange) => Promise<T>): Promise<T> {
    await using trash = new Trash(this.#layout, this.#logger);
    using locked = await this.#records.lock(context);
    await this.#clearIncomplete(locked, trash);
    return await work({
      find: id => this.find(id),
      list: () => this.list(),
      create: (row, make, options) => this.#create(locked, trash, row, make, options),
      update: (id, change) =>
        locked.change(row => (row["id"] === id ? withKeys(row, keyOrder, change(row)) : row)),
      remove: async ids => {
        const removed = new Set(ids);
        if (removed.size === 0) return;
        await locked.change(row => (removed.has(row["id"] as string) ? incomplete(row) : row));
        for (const id of removed) this.#discard(id, trash);
        await locked.change(row => (removed.has(row["id"] as string) ? undefined : row));
      },
      row: id => locked.rows().find(row => row["id"] === id),
      forget: async ids => {
        const gone = new Set<unknown>(ids);
        await locked.change(row => (gone.has(row["id"]) ? undefined : row));
      },
      insert: async rows => {
        for (const to of this.#places.keys())
          await locked.change(other => other, { append: rows.filter(row => this.#whereIs(row) === to), to });
      },
      discard: path => trash.discard(path),
      discardFiles: id => this.#discard(id, trash),
    });
  }

  /** The record says incomplete from before the first file is made until after the last one is on the disk. */
  async #create(
    locked: LockedRecords,
    trash: Trash,
    row: Row,
    make: () => Promise<void>,
    { ofImage = false }: { readonly ofImage?: boolean } = {},
  ): Promise<LayerRecord> {
    const id = row["id"] as string;
    // The directory is the first thing that is made of a layer, and goes after its links: without it, where a search
    // through all links would be for nothing, there is none.
    for (const place of this.#places) {
      if (existsSync(join(place.overlay, id))) discardLayerFiles(place, id, trash);
      else discardLayerData(place, id, trash);
    }
    const names = new Set(textsOf(row, "names"));
    await locked.change(other => withoutNames(other, names), {
      append: [incomplete(row)],
      to: ofImage ? this.#places.length - 1 : 0,
      lasting: false,
    });
    try {
      await make();
    } catch (error) {
      await this.#undo(locked, trash, id);
      throw error;
    }
    await locked.change(other => (other["id"] === id ? row : other));
    return toLayer(row);
  }

  /** If this fails too, say for want of space, the record stays incomplete and the next change clears it away. */
  async #undo(locked: LockedRecords, trash: Trash, id: string): Promise<void> {
    try {
      this.#discard(id, trash);
      await locked.change(row => (row["id"] === id ? undefined : row));
    } catch (error) {
      this.#logger.warn("a layer that failed could not be cleared away yet", {
        layer: id,
        error: messageOf(error),
      });
    }
  }

  async #clearIncomplete(locked: LockedRecords, trash: Trash): Promise<void> {
    const cleared = new Set<unknown>();
    for (const row of locked.rows().filter(isIncomplete)) {
      const id = row["id"] as string;
      try {
        // Only here: a layer that is incomplete in one place may be complete in the other.
        discardLayerFiles(this.layoutOf(id)!, id, trash);
        cleared.add(id);
        this.#logger.warn("removing a layer that was left incomplete", { layer: id });
      } catch (error) {
        this.#logger.error("a layer that was left incomplete cannot be removed", {
          layer: id,
          error: messageOf(error),
        });
      }
    }
    if (cleared.size > 0)
      await locked.change(row => (cleared.has(row["id"]) && isIncomplete(row) ? undefined : row));
  }

  /** The place of a layer that has no record: where its directory is, or that of images, which it then is of. */
  #whereIs(row: Row): number {
    const at = this.#places.findIndex(({ overlay }) => existsSync(join(overlay, row["id"] as string)));
    return at === -1 ? this.#places.length - 1 : at;
  }

  /** In all places: archives of image layers are in the graph root, wherever their directories are. */
  #discard(id: string, trash: Trash): void {
    for (const place of this.#places) discardLayerFiles(place, id, trash);
  }
}

/** What may be done to the layers while they are locked. */
export interface LayerChange {
  find(id: string): LayerRecord | undefined;
  list(): readonly LayerRecord[];
  /**
   * Adds a layer, whose files `make` makes; `ofImage`: where images go. What lies in their place is taken away; if
   * `make` fails, what it made is.
   */
  create(row: Row, make: () => Promise<void>, options?: { readonly ofImage?: boolean }): Promise<LayerRecord>;
  /** Sets some keys of a layer's record. */
  update(id: string, change: (row: Row) => Row): Promise<void>;
  remove(ids: readonly string[]): Promise<void>;
  /** A layer's record as it stands in its file. */
  row(id: string): Row | undefined;
  /** Takes the records away, and leaves the files. */
  forget(ids: readonly string[]): Promise<void>;
  /** Adds records whose files are there, each where they are: after a crash all that are in one place, or none. */
  insert(rows: readonly Row[]): Promise<void>;
  /** Takes a path away, to be deleted after the lock is given back. */
  discard(path: string): void;
  /** Takes a layer's files away, whether it has a record or not. */
  discardFiles(id: string): void;
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
export function containerLayerRow(layer: {
  readonly id: string;
  readonly name: string;
  readonly parent: string | undefined;
  readonly metadata: string;
  readonly idMappings: IdMappings | undefined;
}): Row {
  return withKeys({}, keyOrder, {
    id: layer.id,
    names: [layer.name],
    parent: layer.parent,
    metadata: layer.metadata,
    created: new Date().toISOString(),
    uidmap: toRecord(layer.idMappings?.uids),
    gidmap: toRecord(layer.idMappings?.gids),
  });
}

function incomplete(row: Row): Row {
  return withKeys(row, keyOrder, { flags: { ...objectOf(row, "flags"), incomplete: true } });
}

/** A name is given to one layer: the newest. */
function withoutNames(row: Row, taken: ReadonlySet<string>): Row {
  const names = textsOf(row, "names");
  if (!names.some(name => taken.has(name))) return row;
  const left = names.filter(name => !taken.has(name));
  return withKeys(row, keyOrder, { names: left.length > 0 ? left : undefined });
}

function isIncomplete(row: Row): boolean {
  return objectOf(row, "flags")["incomplete"] === true;
}

function toLayer(row: Row): LayerRecord {
  return {
    id: row["id"] as string,
    parentId: textOf(row, "parent"),
    names: textsOf(row, "names"),
    metadata: textOf(row, "metadata"),
    diffId: asDigest(row["diff-digest"]) as DiffId | undefined,
    diffSize: numberOf(row, "diff-size"),
    compressedDigest: asDigest(row["compressed-diff-digest"]),
    compressedSize: numberOf(row, "compressed-size"),
    created: textOf(row, "created") ?? "",
  };
}
