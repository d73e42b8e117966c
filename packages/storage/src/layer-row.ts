import type { AppliedLayer } from "@ocid/layer";
import type { DiffId, Digest } from "@ocid/spec";
import { asDigest, numberOf, objectOf, type Row, textOf, textsOf, withKeys } from "./go-json.ts";
import { type IdMappings, toRecord } from "./id-mapping.ts";

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

/** The keys of a row, in the order in which the other programs write them. */
export const keyOrder = [
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

export function incomplete(row: Row): Row {
  return withKeys(row, keyOrder, { flags: { ...objectOf(row, "flags"), incomplete: true } });
}

/** A name is given to one layer: the newest. */
export function withoutNames(row: Row, taken: ReadonlySet<string>): Row {
  const names = textsOf(row, "names");
  if (!names.some(name => taken.has(name))) return row;
  const left = names.filter(name => !taken.has(name));
  return withKeys(row, keyOrder, { names: left.length > 0 ? left : undefined });
}

export function isIncomplete(row: Row): boolean {
  return objectOf(row, "flags")["incomplete"] === true;
}

export function toLayer(row: Row): LayerRecord {
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
