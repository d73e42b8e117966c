import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { type Digest, digestBytes } from "@ocid/spec";
import { type BigData, readBigData, writeBigData } from "./big-data.ts";
import { asDigest, numberOf, objectOf, type Row, textOf, textsOf, withKeys } from "./go-json.ts";
import { type Layout, placesOf } from "./layout.ts";
import { type LockedRecords, RecordSet } from "./record-set.ts";
import type { LockContext } from "./store-lock.ts";

/** An image of the store. */
export interface ImageRecord {
  /** Hex of the config's digest. */
  readonly id: string;
  readonly names: readonly string[];
  readonly digest: Digest | undefined;
  readonly layerId: string | undefined;
  readonly created: string;
  readonly bigDataNames: readonly string[];
  readonly bigDataDigests: Readonly<Record<string, Digest>>;
  readonly bigDataBytes: number;
  /** JSON of the tools that keep the image; containers/image notes the sizes of its signatures there. */
  readonly metadata: string;
  /** Copies of the top layer with shifted ids, which other programs make for user namespaces. */
  readonly mappedLayerIds: readonly string[];
  /** Whether it is in an additional store, which is never written to. */
  readonly readOnly: boolean;
}

const keyOrder = [
  "id",
  "digest",
  "names",
  "names-history",
  "layer",
  "mapped-layers",
  "metadata",
  "big-data-names",
  "big-data-sizes",
  "big-data-digests",
  "created",
  "flags",
] as const;

/** images.json and the files beside it. */
export class ImageRecords {
  /** First where new images go; those that were in the graph root before stay there. */
  readonly #places: readonly Layout[];
  readonly #records: RecordSet;
  readonly #readOnly: boolean;

  constructor(layout: Layout, options: { readonly readOnly?: boolean } = {}) {
    this.#places = placesOf(layout).toReversed();
    this.#readOnly = options.readOnly ?? false;
    this.#records = new RecordSet(
      ...this.#places.map(({ locks, images }) => ({
        lock: locks.images,
        files: [join(images, "images.json")],
        directory: images,
      })),
    );
  }

  /** All images, without a lock. */
  list(): readonly ImageRecord[] {
    return this.#records.rows().map(row => toImage(row, this.#readOnly));
  }

  get(id: string): ImageRecord | undefined {
    const row = this.#records.find(id);
    return row && toImage(row, this.#readOnly);
  }

  /** DATA_LOSS when an item that the record names is gone, or is larger than any of its kind. */
  async readData(id: string, key: string): Promise<Uint8Array> {
    const image = this.get(id);
    if (!image) throw new OcidError("NOT_FOUND", `image ${id} is not in the store`);
    if (!image.bigDataNames.includes(key)) throw new OcidError("NOT_FOUND", `image ${id} has no data ${key}`);
    return await readBigData(this.directoryOf(id), key, `image ${id}`);
  }

  /** Where an image's data is, or goes when there is none. */
  directoryOf(id: string): string {
    return join(this.#places[this.#records.placeOf(id) ?? 0]!.images, id);
  }

  /** Adds an image, or data and names to the one that has the id. The names are taken from whichever image has them. */
  async put(context: LockContext, image: NewImage): Promise<ImageRecord> {
    using locked = await this.#lock(context);
    const existing = locked.rows().find(row => row["id"] === image.id);
    if (existing && textOf(existing, "layer") !== image.layerId)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `image ${image.id} is in the store with another top layer; remove it and pull again`,
      );
    // Files first: one without a record does no harm, a record without its files would.
    const place = this.#records.placeOf(image.id) ?? 0;
    await locked.establish(place);
    await writeBigData(this.directoryOf(image.id), image.bigData);
    const before = existing ?? newRow(image);
    const described =
      image.metadata === undefined ? before : withKeys(before, keyOrder, { metadata: image.metadata });
    const row = named(withData(described, image.bigData), image.names);
    await locked.change(
      (other, at) => (other["id"] === image.id && at === place ? row : unnamed(other, image.names)),
      existing ? {} : { append: [row] },
    );
    return toImage(row, false);
  }

  /** Takes names away from whichever images have them. */
  async untag(context: LockContext, names: readonly string[]): Promise<void> {
    using locked = await this.#lock(context);
    await locked.change(row => unnamed(row, names));
  }

  /** Runs `work` alone on the images. */
  async change<T>(context: LockContext, work: (change: ImageChange) => Promise<T>): Promise<T> {
    using locked = await this.#lock(context);
    return await work({
      list: () => this.list(),
      row: id => locked.rows().find(row => row["id"] === id),
      forget: id => locked.change(row => (row["id"] === id ? undefined : row)),
      insert: async row => {
        const names = textsOf(row, "names");
        const to = this.#places.findIndex(({ images }) => existsSync(join(images, row["id"] as string)));
        await locked.change(other => unnamed(other, names), { append: [row], to: Math.max(to, 0) });
      },
      remove: async id => {
        await locked.change(row => (row["id"] === id ? undefined : row));
        for (const { images } of this.#places) await rm(join(images, id), { recursive: true, force: true });
      },
    });
  }

  /**
   * Of two images with one name, which a crash or another program may leave, the later keeps it (§C.4); one in the image
   * store before one in the graph root.
   */
  async #lock(context: LockContext): Promise<LockedRecords> {
    const locked = await this.#records.lock(context);
    try {
      const owners = new Map<string, { readonly id: unknown; readonly place: number }>();
      for (const [row, place] of locked.entries())
        for (const name of textsOf(row, "names"))
          if (place <= (owners.get(name)?.place ?? place)) owners.set(name, { id: row["id"], place });
      await locked.change(row =>
        unnamed(
          row,
          textsOf(row, "names").filter(name => owners.get(name)?.id !== row["id"]),
        ),
      );
      return locked;
    } catch (error) {
      locked[Symbol.dispose]();
      throw error;
    }
  }
}

export interface NewImage {
  readonly id: string;
  readonly names: readonly string[];
  readonly layerId: string | undefined;
  readonly created: string | undefined;
  readonly bigData: readonly BigData[];
  readonly metadata?: string | undefined;
}

/** What may be done to the images while they are locked. */
export interface ImageChange {
  list(): readonly ImageRecord[];
  remove(id: string): Promise<void>;
  /** An image's record as it stands in its file. */
  row(id: string): Row | undefined;
  /** Takes the record away, and leaves the data. */
  forget(id: string): Promise<void>;
  /** Adds the record of an image whose data is there; its names are its own again. */
  insert(row: Row): Promise<void>;
}

function newRow(image: {
  readonly id: string;
  readonly layerId: string | undefined;
  readonly created: string | undefined;
}): Row {
  return withKeys({}, keyOrder, {
    id: image.id,
    layer: image.layerId,
    metadata: "{}",
    created: image.created ?? new Date().toISOString(),
  });
}

function withData(row: Row, data: readonly BigData[]): Row {
  const names = [...textsOf(row, "big-data-names")];
  const sizes = { ...objectOf(row, "big-data-sizes") };
  const digests = { ...objectOf(row, "big-data-digests") };
  for (const { key, bytes } of data) {
    if (!names.includes(key)) names.push(key);
    sizes[key] = bytes.byteLength;
    digests[key] = digestBytes(bytes);
  }
  const first = names.find(name => name.startsWith("manifest"));
  return withKeys(row, keyOrder, {
    digest: first === undefined ? undefined : digests[first],
    "big-data-names": names,
    "big-data-sizes": sortKeys(sizes),
    "big-data-digests": sortKeys(digests),
  });
}

function sortKeys(object: Row): Row {
  return Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Adds names in front of those that are there, and moves each to the front of the history (§C.4). */
function named(row: Row, added: readonly string[]): Row {
  const names = [...new Set([...added, ...textsOf(row, "names")])];
  let history = [...textsOf(row, "names-history")];
  for (const name of names) history = [name, ...history.filter(other => other !== name)];
  return withKeys(row, keyOrder, {
    names: names.length > 0 ? names : undefined,
    "names-history": history.length > 0 ? history : undefined,
  });
}

/** The row itself when it has none of the names. */
function unnamed(row: Row, taken: readonly string[]): Row {
  const before = textsOf(row, "names");
  const names = before.filter(name => !taken.includes(name));
  if (names.length === before.length) return row;
  return withKeys(row, keyOrder, { names: names.length > 0 ? names : undefined });
}

function toImage(row: Row, readOnly: boolean): ImageRecord {
  const digests = Object.entries(objectOf(row, "big-data-digests")).flatMap(([key, value]) => {
    const digest = asDigest(value);
    return digest === undefined ? [] : [[key, digest] as const];
  });
  const sizes = objectOf(row, "big-data-sizes");
  return {
    id: row["id"] as string,
    names: textsOf(row, "names"),
    digest: asDigest(row["digest"]),
    layerId: textOf(row, "layer"),
    created: textOf(row, "created") ?? "",
    bigDataNames: textsOf(row, "big-data-names"),
    bigDataDigests: Object.fromEntries(digests),
    bigDataBytes: Object.keys(sizes).reduce((sum, key) => sum + (numberOf(sizes, key) ?? 0), 0),
    metadata: textOf(row, "metadata") ?? "{}",
    mappedLayerIds: textsOf(row, "mapped-layers"),
    readOnly,
  };
}
