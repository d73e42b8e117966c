import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import { type Digest, digestBytes, parseDigest, parseReference, referenceName } from "@ocid/spec";
import { numberOf, objectOf, type Row, textOf, textsOf, withKeys } from "./go-json.ts";
import type { Layout } from "./layout.ts";
import { RecordFile, writeRecordFile } from "./record-file.ts";
import { type LockContext, takeLock } from "./store-lock.ts";

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
}

export interface BigData {
  readonly key: string;
  readonly bytes: Uint8Array;
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

const maxBigDataBytes = 64 * 1024 * 1024;

/** images.json and the files beside it. */
export class ImageRecords {
  readonly #layout: Layout;
  readonly #file: RecordFile;

  constructor(layout: Layout) {
    this.#layout = layout;
    this.#file = new RecordFile(join(layout.images, "images.json"));
  }

  list(): readonly ImageRecord[] {
    return this.#file.read().map(toImage);
  }

  /** By id, name, unique prefix of an id, or `repository@digest`. */
  find(reference: string): ImageRecord | undefined {
    const images = this.list();
    const id = reference.replace(/^sha256:(?=[0-9a-f]{64}$)/, "");
    const exact =
      images.find(image => image.id === id) ?? images.find(image => image.names.includes(reference));
    if (exact) return exact;
    if (/^[0-9a-f]{3,63}$/.test(id)) {
      const matches = images.filter(image => image.id.startsWith(id));
      if (matches.length > 1)
        throw new OcidError(
          "INVALID_ARGUMENT",
          `image id ${reference} is ambiguous: ${matches.map(image => image.id.slice(0, 16)).join(", ")}`,
        );
      if (matches[0]) return matches[0];
    }
    return findByName(images, reference);
  }

  readData(id: string, key: string): Uint8Array {
    const image = this.list().find(candidate => candidate.id === id);
    if (!image) throw new OcidError("NOT_FOUND", `image ${id} is not in the store`);
    if (!image.bigDataNames.includes(key)) throw new OcidError("NOT_FOUND", `image ${id} has no data ${key}`);
    const path = join(this.#layout.images, id, bigDataFile(key));
    try {
      return readFileSync(path);
    } catch (error) {
      throw wrapError(`read ${key} of image ${id}`, error, "DATA_LOSS");
    }
  }

  /** Adds an image, or data and names to the one that has the id. The names are taken from whichever image has them. */
  async put(
    context: LockContext,
    image: {
      readonly id: string;
      readonly names: readonly string[];
      readonly layerId: string | undefined;
      readonly created: string | undefined;
      readonly bigData: readonly BigData[];
    },
  ): Promise<ImageRecord> {
    using lock = await takeLock(this.#layout.locks.images, "write", context);
    const rows = this.#file.read();
    const existing = rows.find(row => row["id"] === image.id);
    if (existing && textOf(existing, "layer") !== image.layerId)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `image ${image.id} is in the store with another top layer; remove it and pull again`,
      );
    // Files first: one without a record does no harm, a record without its files would.
    for (const { key, bytes } of image.bigData) this.#writeData(image.id, key, bytes);
    const row = named(withData(existing ?? newRow(image), image.bigData), image.names);
    lock.touch();
    this.#file.write(
      [...rows.filter(other => other["id"] !== image.id).map(other => unnamed(other, image.names)), row].sort(
        (a, b) => rank(rows, a) - rank(rows, b),
      ),
    );
    return toImage(row);
  }

  /** Takes names away from whichever images have them. */
  async untag(context: LockContext, names: readonly string[]): Promise<void> {
    using lock = await takeLock(this.#layout.locks.images, "write", context);
    const rows = this.#file.read();
    if (!rows.some(row => textsOf(row, "names").some(name => names.includes(name)))) return;
    lock.touch();
    this.#file.write(rows.map(row => unnamed(row, names)));
  }

  /** Runs `work` alone on the images; it may remove one. */
  async removing<T>(context: LockContext, work: (remove: (id: string) => void) => Promise<T>): Promise<T> {
    using lock = await takeLock(this.#layout.locks.images, "write", context);
    return await work(id => {
      lock.touch();
      this.#file.write(this.#file.read().filter(row => row["id"] !== id));
      rmSync(join(this.#layout.images, id), { recursive: true, force: true });
    });
  }

  #writeData(id: string, key: string, bytes: Uint8Array): void {
    if (bytes.byteLength > maxBigDataBytes)
      throw new OcidError(
        "RESOURCE_EXHAUSTED",
        `${key} of image ${id} has more than ${maxBigDataBytes} bytes`,
      );
    const directory = join(this.#layout.images, id);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    writeRecordFile(join(directory, bigDataFile(key)), bytes);
  }
}

/** Name of the file of a big data item: the key, or `=` and its base64 when it has characters beyond `a-z0-9.` (§F.1). */
export function bigDataFile(key: string): string {
  if (/^[0-9a-z.]*.?$/su.test(key) && !key.includes("/")) return key;
  return `=${Buffer.from(key).toString("base64")}`;
}

function findByName(images: readonly ImageRecord[], text: string): ImageRecord | undefined {
  let reference: ReturnType<typeof parseReference>;
  try {
    reference = parseReference(text);
  } catch {
    return undefined;
  }
  const name = referenceName(reference);
  if (reference.digest !== undefined) {
    return images.find(
      image =>
        digestsOf(image).includes(reference.digest!) && image.names.some(other => nameOf(other) === name),
    );
  }
  const full = `${name}:${reference.tag}`;
  return (
    images.find(image => image.names.includes(full)) ??
    images.find(image => image.names.includes(`localhost/${text.includes(":") ? text : `${text}:latest`}`))
  );
}

/** Digests of all manifests by which an image is known: its own and that of the index it came from. */
export function digestsOf(image: ImageRecord): readonly Digest[] {
  const manifests = Object.entries(image.bigDataDigests).filter(([key]) => key.startsWith("manifest"));
  return [...new Set([...(image.digest ? [image.digest] : []), ...manifests.map(([, digest]) => digest)])];
}

function nameOf(text: string): string | undefined {
  try {
    return referenceName(parseReference(text));
  } catch {
    return undefined;
  }
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

function unnamed(row: Row, taken: readonly string[]): Row {
  const names = textsOf(row, "names").filter(name => !taken.includes(name));
  return withKeys(row, keyOrder, { names: names.length > 0 ? names : undefined });
}

function rank(rows: readonly Row[], row: Row): number {
  const at = rows.findIndex(other => other["id"] === row["id"]);
  return at === -1 ? rows.length : at;
}

function toImage(row: Row): ImageRecord {
  const digest = textOf(row, "digest");
  const digests = Object.entries(objectOf(row, "big-data-digests")).flatMap(([key, value]) =>
    typeof value === "string" ? [[key, parseDigest(value)] as const] : [],
  );
  const sizes = objectOf(row, "big-data-sizes");
  return {
    id: row["id"] as string,
    names: textsOf(row, "names"),
    digest: digest === undefined ? undefined : parseDigest(digest),
    layerId: textOf(row, "layer"),
    created: textOf(row, "created") ?? "",
    bigDataNames: textsOf(row, "big-data-names"),
    bigDataDigests: Object.fromEntries(digests),
    bigDataBytes: Object.keys(sizes).reduce((sum, key) => sum + (numberOf(sizes, key) ?? 0), 0),
  };
}
