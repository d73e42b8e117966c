import { randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { type IdMappings, toHostId } from "./id-mapping.ts";
import { type LayerQuota, limitLayer } from "./layer-quota.ts";
import type { Layout } from "./layout.ts";
import type { Trash } from "./trash.ts";

/** As many as the kernel takes. */
const maxLowers = 500;

/** The overlay directory and id of the layer below; an additional store may have it. */
export interface LayerParent {
  readonly overlay: string;
  readonly id: string;
}

export interface LayerDirectoryRequest {
  readonly id: string;
  readonly parent: LayerParent | undefined;
  /** For a layer whose files have shifted owners. */
  readonly idMappings?: IdMappings | undefined;
  /** What the layer may take up, where that is limited. */
  readonly quota?: LayerQuota | undefined;
  /** A directory on the same mount that becomes the content; without, the layer is empty. */
  readonly staged?: string;
}

/**
 * Makes a layer's directory of the overlay driver (§D.1): `diff`, `link`, `lower`, `work`, `merged`, `empty`. Once what
 * is returned is on the disk, all of it is, given that the staged content was. The caller holds the layers' lock and has
 * noted the layer as incomplete.
 */
export function createLayerDirectory(
  layout: Layout,
  { id, parent, staged, idMappings, quota }: LayerDirectoryRequest,
): readonly string[] {
  const directory = join(layout.overlay, id);
  const diff = join(directory, "diff");
  const lower = parent === undefined ? [] : lowersAbove(parent.overlay, parent.id);
  if (lower.length > maxLowers)
    throw new OcidError(
      "RESOURCE_EXHAUSTED",
      `an image of ${lower.length + 1} layers cannot be mounted: overlayfs takes at most ${maxLowers + 1}`,
    );
  mkdirSync(directory, { mode: 0o700 });
  // Before anything is made in it, which then belongs to the same project.
  if (quota) limitLayer(directory, quota);
  if (staged === undefined) mkdirSync(diff);
  else renameSync(staged, diff);
  const link = linkName();
  symlinkSync(`../${id}/diff`, join(layout.links, link));
  writeFileSync(join(directory, "link"), link, { mode: 0o644 });
  mkdirSync(join(directory, "work"), { mode: 0o700 });
  mkdirSync(join(directory, "merged"), { mode: 0o700 });
  takeModeOfParent(diff, parent);
  if (parent === undefined) mkdirSync(join(directory, "empty"), { mode: 0o700 });
  else writeFileSync(join(directory, "lower"), lower.join(":"), { mode: 0o644 });
  if (idMappings)
    for (const path of [directory, diff, join(directory, "work"), join(directory, "merged")])
      shiftOwner(path, idMappings);
  return [
    join(directory, "link"),
    ...(parent === undefined ? [] : [join(directory, "lower")]),
    diff,
    directory,
    layout.links,
    layout.overlay,
  ];
}

/** The root directory of a layer's content looks like that of the layer below; that of a base layer is 0555. */
export function takeModeOfParent(diff: string, parent: LayerParent | undefined): void {
  if (parent === undefined) return chmodSync(diff, 0o555);
  const { mode, uid, gid } = statSync(join(parent.overlay, parent.id, "diff"));
  chownSync(diff, uid, gid);
  chmodSync(diff, mode & 0o7777);
}

function shiftOwner(path: string, { uids, gids }: IdMappings): void {
  const { uid, gid, mode } = statSync(path);
  chownSync(path, toHostId(uids, uid), toHostId(gids, gid));
  chmodSync(path, mode & 0o7777);
}

/** What `lower` of a layer on top of this one says: its short link and those below it, the nearest first. */
function lowersAbove(overlay: string, id: string): readonly string[] {
  const directory = join(overlay, id);
  if (!existsSync(join(directory, "link")))
    throw new OcidError("DATA_LOSS", `layer ${id} has no directory in ${overlay}; repair the store`);
  return [`l/${readFileSync(join(directory, "link"), "utf8").trim()}`, ...lowersOf(overlay, id)];
}

/** Links of the layers below, the nearest first, relative to the overlay directory: `l/ABC…`. */
export function lowersOf(overlay: string, id: string): readonly string[] {
  const path = join(overlay, id, "lower");
  if (!existsSync(path)) return [];
  const links = readFileSync(path, "utf8").trim().split(":").filter(Boolean);
  const bad = links.find(link => !/^l\/[A-Za-z0-9]+$/.test(link));
  if (bad !== undefined)
    throw new OcidError("DATA_LOSS", `${path} is damaged: ${JSON.stringify(bad.slice(0, 100))} is no link`);
  return links;
}

/**
 * Absolute paths that a mount of a layer stacks below its own `diff`. Layers of this store's overlay directories and of
 * those of additional stores are found by their short links; this store's missing ones are made again.
 */
export function lowerPaths(
  { overlays, additional }: { readonly overlays: readonly string[]; readonly additional: readonly string[] },
  home: string,
  id: string,
): readonly string[] {
  const all = [...overlays, ...additional];
  const own = generations(join(home, id));
  const below = lowersOf(home, id).flatMap(link => {
    let path = findLink(all, link);
    if (path === undefined) {
      for (const overlay of overlays) restoreLinks(overlay);
      path = findLink(all, link);
    }
    if (path === undefined)
      throw new OcidError("DATA_LOSS", `layer ${id} stands on ${link}, which the store does not have`);
    return [path, ...generations(`${path}/..`)];
  });
  return own.length + below.length > 0 ? [...own, ...below] : [join(home, id, "empty")];
}

function findLink(overlays: readonly string[], link: string): string | undefined {
  return overlays.map(overlay => join(overlay, link)).find(path => existsSync(path));
}

/** `diff1`, `diff2` …: older generations of a layer that was copied for other ids. */
function generations(directory: string): readonly string[] {
  const found: string[] = [];
  for (let count = 1; existsSync(`${directory}/diff${count}`); count++)
    found.push(`${directory}/diff${count}`);
  return found;
}

/** Makes short links again that a crash has lost; each layer knows its own. */
export function restoreLinks(overlay: string): void {
  for (const id of readdirSync(overlay)) {
    const file = join(overlay, id, "link");
    if (id === "l" || !existsSync(file)) continue;
    const link = readFileSync(file, "utf8").trim();
    if (!/^[A-Za-z0-9]+$/.test(link)) continue;
    if (!lstatSync(join(overlay, "l", link), { throwIfNoEntry: false }))
      symlinkSync(`../${id}/diff`, join(overlay, "l", link));
  }
}

/** Takes a layer's files out of the store: every short link to it, directory, tar-split, big data. */
export function discardLayerFiles(layout: Layout, id: string, trash: Trash): void {
  const link = readLink(layout, id);
  if (link !== undefined) trash.discard(join(layout.links, link));
  else for (const orphan of linksTo(layout, id)) trash.discard(join(layout.links, orphan));
  trash.discard(join(layout.overlay, id));
  discardLayerData(layout, id, trash);
}

/** Takes away what is kept of a layer beside its records: tar-split, big data. */
export function discardLayerData(layout: Layout, id: string, trash: Trash): void {
  trash.discard(join(layout.layers, `${id}.tar-split.gz`));
  trash.discard(join(layout.layers, id));
}

function readLink(layout: Layout, id: string): string | undefined {
  const file = join(layout.overlay, id, "link");
  const link = existsSync(file) ? readFileSync(file, "utf8").trim() : "";
  return /^[A-Za-z0-9]+$/.test(link) ? link : undefined;
}

/** A writer that died between making a link and noting its name leaves one that only a search finds. */
function linksTo(layout: Layout, id: string): readonly string[] {
  return readdirSync(layout.links).filter(link => {
    const path = join(layout.links, link);
    return lstatSync(path).isSymbolicLink() && readlinkSync(path) === `../${id}/diff`;
  });
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** 26 characters of base32, drawn anew for each layer. */
export function linkName(): string {
  return Array.from(randomBytes(26), byte => alphabet[byte & 31]).join("");
}
