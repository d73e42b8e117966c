import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Logger, messageOf } from "@ocid/base";
import { type DiffId, digestBytes, digestHex } from "@ocid/spec";
import { type Row, textsOf, withKeys } from "./go-json.ts";
import { discardLayerData, discardLayerFiles } from "./layer-directory.ts";
import { incomplete, isIncomplete, keyOrder, type LayerRecord, toLayer, withoutNames } from "./layer-row.ts";
import { type Layout, placesOf } from "./layout.ts";
import { type LockedRecords, RecordSet } from "./record-set.ts";
import type { LockContext } from "./store-lock.ts";
import { Trash } from "./trash.ts";
import { syncPaths } from "./write-record.ts";

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
      create: (added, options) => this.#create(locked, trash, added, options),
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

  /** The records say incomplete from before the first file is made until after the last one is on the disk. */
  async #create(
    locked: LockedRecords,
    trash: Trash,
    added: readonly NewLayer[],
    { ofImage = false }: { readonly ofImage?: boolean } = {},
  ): Promise<readonly LayerRecord[]> {
    const rows = new Map(added.map(({ row }) => [row["id"], row]));
    const ids = added.map(({ row }) => row["id"] as string);
    for (const id of ids) this.#clearPlace(id, trash);
    const names = new Set(added.flatMap(({ row }) => textsOf(row, "names")));
    await locked.change(other => withoutNames(other, names), {
      append: added.map(({ row }) => incomplete(row)),
      to: ofImage ? this.#places.length - 1 : 0,
      lasting: false,
    });
    try {
      const made = new Set<string>();
      for (const { make } of added) for (const path of make()) made.add(path);
      await syncPaths([...made]);
    } catch (error) {
      await this.#undo(locked, trash, ids);
      throw error;
    }
    await locked.change(other => rows.get(other["id"]) ?? other);
    return added.map(({ row }) => toLayer(row));
  }

  /**
   * The directory is the first thing that is made of a layer, and goes after its links: without it, where a search
   * through all links would be for nothing, there is none.
   */
  #clearPlace(id: string, trash: Trash): void {
    for (const place of this.#places) {
      if (existsSync(join(place.overlay, id))) discardLayerFiles(place, id, trash);
      else discardLayerData(place, id, trash);
    }
  }

  /** If this fails too, say for want of space, the records stay incomplete and the next change clears them away. */
  async #undo(locked: LockedRecords, trash: Trash, ids: readonly string[]): Promise<void> {
    try {
      for (const id of ids) this.#discard(id, trash);
      const gone = new Set<unknown>(ids);
      await locked.change(row => (gone.has(row["id"]) ? undefined : row));
    } catch (error) {
      this.#logger.warn("layers that failed could not be cleared away yet", {
        layers: ids.join(" "),
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

/** A layer that is to be added. */
export interface NewLayer {
  readonly row: Row;
  /** Makes its files, and returns those that have to be on the disk before it counts. */
  make(): readonly string[];
}

/** What may be done to the layers while they are locked. */
export interface LayerChange {
  find(id: string): LayerRecord | undefined;
  list(): readonly LayerRecord[];
  /**
   * Adds layers, in the order in which they stand on each other, with two writes of the records and one wait for the
   * files of all; `ofImage`: where images go. What lies in their place is taken away; if one cannot be made, what was
   * made of all is.
   */
  create(
    added: readonly NewLayer[],
    options?: { readonly ofImage?: boolean },
  ): Promise<readonly LayerRecord[]>;
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
