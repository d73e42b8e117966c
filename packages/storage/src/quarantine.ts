import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { removeTree, withoutMountsBelow } from "@ocid/host";
import { isId, type Row } from "./go-json.ts";
import type { LayerChange } from "./layer-records.ts";
import { type Layout, placesOf } from "./layout.ts";
import { neededLayers, refuseInUse, unneeded } from "./remove-image.ts";
import { type CallOptions, getImage, lockContext, type StoreParts } from "./store-parts.ts";
import { syncPaths, writeRecord } from "./write-record.ts";

/** Something that was moved out of the store because it is damaged and could not be rebuilt. */
export interface QuarantineEntry {
  readonly id: string;
  /** RFC 3339. */
  readonly quarantinedAt: string;
  readonly reason: string;
  readonly imageId: string | undefined;
  /** Names that the image had. */
  readonly names: readonly string[];
  readonly layerIds: readonly string[];
}

/** What is kept of it: the records word for word, so that it can be put back as it was. */
interface Kept {
  readonly quarantinedAt: string;
  readonly reason: string;
  readonly image?: Row | undefined;
  readonly layers: readonly { readonly id: string; readonly record?: Row | undefined }[];
  /** Set while it is being put back. */
  readonly restoring?: boolean | undefined;
}

const placeOf = (layout: Layout) => join(layout.own, "quarantine");

/**
 * Moves an image, with the layers that nothing else needs, out of the store and into quarantine. FAILED_PRECONDITION
 * when a container or a mount uses it: what runs is left alone.
 */
export async function quarantineImage(
  parts: StoreParts,
  imageId: string,
  reason: string,
  options: CallOptions = {},
): Promise<QuarantineEntry> {
  const context = lockContext(parts, options);
  return await parts.layers.change(context, layers =>
    parts.images.change(context, images =>
      parts.containers.change(context, async () => {
        await settle(parts, layers);
        const image = getImage(parts, imageId);
        if (image.readOnly)
          throw new OcidError(
            "FAILED_PRECONDITION",
            `image ${imageId} is in an additional store, which is only read`,
          );
        refuseInUse(parts, image.names[0] ?? image.id, image);
        const others = images.list().filter(other => other.id !== image.id);
        const ids = unneeded(layers, image, neededLayers(others, parts.containers.holders()));
        return await setAside(parts, layers, {
          reason,
          image: images.row(image.id),
          layerIds: ids,
          forget: () => images.forget(image.id),
        });
      }),
    ),
  );
}

/**
 * While a record names layers that have none, moves the directories of layers that no record knows into quarantine: the
 * records were lost, not the layers. What containers name stays where it is. Undefined when there is nothing to move.
 */
export async function quarantineUnrecorded(
  parts: StoreParts,
  reason: string,
  options: CallOptions = {},
): Promise<QuarantineEntry | undefined> {
  const context = lockContext(parts, options);
  return await parts.layers.change(context, layers =>
    parts.images.change(context, () =>
      parts.containers.change(context, async () => {
        await settle(parts, layers);
        if (danglingLayers(parts).length === 0) return undefined;
        const held = parts.containers.holders().map(({ layerId }) => layerId);
        const known = new Set([...parts.layers.all(), ...held]);
        const names = placesOf(parts.layout).flatMap(({ overlay }) => readdirSync(overlay));
        const ids = new Set(names.filter(name => /^[0-9a-f]{64}$/.test(name) && !known.has(name)));
        return ids.size === 0 ? undefined : await setAside(parts, layers, { reason, layerIds: [...ids] });
      }),
    ),
  );
}

/** Layers that a record names, that have no record themselves, and whose directory is there. */
export function danglingLayers(parts: StoreParts): readonly string[] {
  const named = [
    ...neededLayers(parts.images.list(), parts.containers.holders()),
    ...parts.layers.list().flatMap(layer => layer.parentId ?? []),
  ];
  const known = new Set(parts.layers.all());
  return [...new Set(named)].filter(
    id =>
      isId(id) &&
      !known.has(id) &&
      placesOf(parts.layout).some(({ overlay }) => existsSync(join(overlay, id))),
  );
}

export function listQuarantine(layout: Layout): readonly QuarantineEntry[] {
  const place = placeOf(layout);
  return (existsSync(place) ? readdirSync(place) : [])
    .flatMap(id => {
      const kept = readKept(layout, id);
      return kept ? [describe(id, kept)] : [];
    })
    .sort((a, b) => (a.quarantinedAt < b.quarantinedAt ? -1 : 1));
}

/** Puts what was in quarantine back as it was. What the store has got again meanwhile stays as it is now. */
export async function restoreQuarantined(
  parts: StoreParts,
  id: string,
  options: CallOptions = {},
): Promise<QuarantineEntry> {
  const context = lockContext(parts, options);
  const { layout } = parts;
  return await parts.layers.change(context, layers =>
    parts.images.change(context, async images => {
      const kept = getKept(layout, id);
      const { image } = kept;
      if (image && images.list().some(other => other.id === image["id"]))
        throw new OcidError(
          "FAILED_PRECONDITION",
          `image ${String(image["id"])} is in the store again; remove it first, or remove the quarantined one`,
        );
      await writeKept(layout, id, { ...kept, restoring: true });
      const back = kept.layers.filter(layer => layers.row(layer.id) === undefined);
      for (const layer of back) moveLayer(layout, id, layer.id, "out");
      if (image) moveImage(layout, id, image["id"] as string, "out");
      await syncPaths(
        placesOf(layout).flatMap(place => [place.overlay, place.links, place.layers, place.images]),
      );
      await layers.insert(back.flatMap(layer => (layer.record ? [layer.record] : [])));
      if (image) await images.insert(image);
      await removeEntry(layout, id);
      return describe(id, kept);
    }),
  );
}

/** Deletes what is in quarantine for good. */
export async function removeQuarantined(parts: StoreParts, id: string): Promise<QuarantineEntry> {
  const kept = getKept(parts.layout, id);
  await removeEntry(parts.layout, id);
  return describe(id, kept);
}

/**
 * Ends what a crash has interrupted: the note is written first, then the records go, then the files are moved; until
 * then they belong to nobody, but must not be taken for garbage. The caller holds the layers' lock.
 */
export async function settle(parts: StoreParts, layers: LayerChange): Promise<void> {
  const { layout } = parts;
  for (const { id } of listQuarantine(layout)) {
    const kept = getKept(layout, id);
    const isBack = (layer: { readonly id: string }) => layers.row(layer.id) !== undefined;
    const imageIsBack =
      kept.image === undefined || parts.images.get(kept.image["id"] as string) !== undefined;
    if (kept.restoring && kept.layers.every(layer => isBack(layer) || !layer.record) && imageIsBack) {
      await removeEntry(layout, id);
      continue;
    }
    for (const layer of kept.layers) if (!isBack(layer)) moveLayer(layout, id, layer.id, "in");
    if (kept.image && !imageIsBack) moveImage(layout, id, kept.image["id"] as string, "in");
    if (kept.restoring) await writeKept(layout, id, { ...kept, restoring: false });
  }
}

async function setAside(
  { layout }: StoreParts,
  layers: LayerChange,
  what: {
    readonly reason: string;
    readonly layerIds: readonly string[];
    readonly image?: Row | undefined;
    readonly forget?: () => Promise<void>;
  },
): Promise<QuarantineEntry> {
  const id = randomBytes(6).toString("hex");
  const kept: Kept = {
    quarantinedAt: new Date().toISOString(),
    reason: what.reason,
    image: what.image,
    layers: what.layerIds.map(layer => ({ id: layer, record: layers.row(layer) })),
  };
  await writeKept(layout, id, kept);
  await what.forget?.();
  await layers.forget(what.layerIds);
  for (const layer of what.layerIds) moveLayer(layout, id, layer, "in");
  if (what.image) moveImage(layout, id, what.image["id"] as string, "in");
  await syncPaths(
    placesOf(layout).flatMap(place => [place.overlay, place.layers, place.images, join(placeOf(place), id)]),
  );
  return describe(id, kept);
}

/** Whatever is moved stays on the file system where it is: of a store whose images are apart, each place has its part of the entry. */
function moveImage(layout: Layout, entry: string, imageId: string, way: "in" | "out"): void {
  for (const place of placesOf(layout))
    move(place, [[join("overlay-images", imageId), join("ocid/quarantine", entry, "image")]], way);
}

function moveLayer(layout: Layout, entry: string, layerId: string, way: "in" | "out"): void {
  for (const place of placesOf(layout)) movePart(place, entry, layerId, way);
}

/** A layer's directory, tar-split and data, each beside the others of the entry; its short link is made from `link`. */
function movePart(layout: Layout, entry: string, layerId: string, way: "in" | "out"): void {
  const aside = join("ocid/quarantine", entry, "layers", layerId);
  const pairs: (readonly [string, string])[] = [
    [join("overlay", layerId), join(aside, "overlay")],
    [join("overlay-layers", `${layerId}.tar-split.gz`), join(aside, "tar-split.gz")],
    [join("overlay-layers", layerId), join(aside, "data")],
  ];
  mkdirSync(join(layout.root, aside), { recursive: true, mode: 0o700 });
  if (way === "in") rmSync(linkOf(layout, join(layout.overlay, layerId)) ?? "", { force: true });
  move(layout, pairs, way);
  const link = way === "out" ? linkOf(layout, join(layout.overlay, layerId)) : undefined;
  if (link !== undefined && !existsSync(link)) {
    rmSync(link, { force: true });
    symlinkSync(`../${layerId}/diff`, link);
  }
}

function linkOf(layout: Layout, directory: string): string | undefined {
  const file = join(directory, "link");
  const link = existsSync(file) ? readFileSync(file, "utf8").trim() : "";
  return /^[A-Za-z0-9]+$/.test(link) ? join(layout.links, link) : undefined;
}

/** Renames paths of the store to those in quarantine, or back; what is not there, or was moved already, is passed over. */
function move(layout: Layout, pairs: readonly (readonly [string, string])[], way: "in" | "out"): void {
  withoutMountsBelow(layout.root, root => {
    for (const [store, aside] of pairs) {
      const [from, to] = way === "in" ? [store, aside] : [aside, store];
      if (existsSync(join(root, from)) && !existsSync(join(root, to)))
        renameSync(join(root, from), join(root, to));
    }
  });
}

/** The part that has the note goes last: while that is there, the rest can be removed by whoever asks again. */
async function removeEntry(layout: Layout, id: string): Promise<void> {
  for (const place of placesOf(layout).toReversed()) await removeTree(join(placeOf(place), id));
}

async function writeKept(layout: Layout, id: string, kept: Kept): Promise<void> {
  await writeRecord(join(placeOf(layout), id, "entry.json"), JSON.stringify(kept), { lasting: true });
  for (const place of placesOf(layout)) mkdirSync(join(placeOf(place), id), { recursive: true, mode: 0o700 });
  await syncPaths(placesOf(layout).flatMap(place => [placeOf(place), place.own]));
}

function readKept(layout: Layout, id: string): Kept | undefined {
  const path = join(placeOf(layout), id, "entry.json");
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Kept) : undefined;
}

function getKept(layout: Layout, id: string): Kept {
  const kept = /^[0-9a-f]{12}$/.test(id) ? readKept(layout, id) : undefined;
  if (!kept)
    throw new OcidError("NOT_FOUND", `nothing in quarantine is called ${JSON.stringify(id.slice(0, 100))}`);
  return kept;
}

function describe(id: string, kept: Kept): QuarantineEntry {
  const names = kept.image?.["names"];
  return {
    id,
    quarantinedAt: kept.quarantinedAt,
    reason: kept.reason,
    imageId: kept.image?.["id"] as string | undefined,
    names: Array.isArray(names) ? (names as string[]) : [],
    layerIds: kept.layers.map(layer => layer.id),
  };
}
