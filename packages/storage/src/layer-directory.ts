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
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import type { Layout } from "./layout.ts";
import { syncDirectory } from "./record-file.ts";

const maxLowers = 500;

/**
 * Makes a layer's directory of the overlay driver: `diff`, `link`, `lower`, `work`, `merged`, `empty`. `staged` is a
 * directory on the same mount that becomes its content. The caller holds the layers' lock and has an incomplete record.
 */
export function createLayerDirectory(
  layout: Layout,
  id: string,
  parent: string | undefined,
  staged?: string,
): void {
  const directory = join(layout.overlay, id);
  removeLayerDirectory(layout, id);
  mkdirSync(directory, { mode: 0o700 });
  const diff = join(directory, "diff");
  if (staged === undefined) mkdirSync(diff);
  else renameSync(staged, diff);
  const link = linkName();
  symlinkSync(`../${id}/diff`, join(layout.links, link));
  writeFileSync(join(directory, "link"), link, { mode: 0o644 });
  mkdirSync(join(directory, "work"), { mode: 0o700 });
  mkdirSync(join(directory, "merged"), { mode: 0o700 });
  if (parent === undefined) {
    chmodSync(diff, 0o555);
    mkdirSync(join(directory, "empty"), { mode: 0o700 });
  } else {
    const above = join(layout.overlay, parent);
    const { mode, uid, gid } = statSync(join(above, "diff"));
    chownSync(diff, uid, gid);
    chmodSync(diff, mode & 0o7777);
    const lower = [`l/${readFileSync(join(above, "link"), "utf8")}`, ...lowersOf(layout, parent)];
    if (lower.length > maxLowers)
      throw new OcidError(
        "RESOURCE_EXHAUSTED",
        `an image of ${lower.length + 1} layers cannot be mounted: overlayfs takes at most ${maxLowers}`,
      );
    writeFileSync(join(directory, "lower"), lower.join(":"), { mode: 0o644 });
  }
  for (const path of [directory, layout.links, layout.overlay]) syncDirectory(path);
}

/** Links of the layers below, the nearest first, relative to the overlay directory: `l/ABC…`. */
export function lowersOf(layout: Layout, id: string): readonly string[] {
  const path = join(layout.overlay, id, "lower");
  if (!existsSync(path)) return [];
  return readFileSync(path, "utf8").trim().split(":").filter(Boolean);
}

/** Absolute paths that a mount of the layer stacks below its own `diff`; missing short links are made again. */
export function lowerPaths(layout: Layout, id: string): readonly string[] {
  const own = generations(join(layout.overlay, id));
  const below = lowersOf(layout, id).flatMap(link => {
    const path = join(layout.overlay, link);
    if (!existsSync(path)) restoreLinks(layout);
    if (!existsSync(path))
      throw new OcidError("DATA_LOSS", `layer ${id} stands on ${link}, which the store does not have`);
    return [path, ...generations(join(path, ".."), path)];
  });
  return own.length + below.length > 0 ? [...own, ...below] : [join(layout.overlay, id, "empty")];
}

/** `diff1`, `diff2` …: older generations of a layer that was copied for other ids. */
function generations(directory: string, via?: string): readonly string[] {
  const found: string[] = [];
  for (let count = 1; existsSync(join(directory, `diff${count}`)); count++)
    found.push(via ? `${via}/../diff${count}` : join(directory, `diff${count}`));
  return found;
}

function restoreLinks(layout: Layout): void {
  for (const id of readdirSync(layout.overlay)) {
    const file = join(layout.overlay, id, "link");
    if (id === "l" || !existsSync(file)) continue;
    const link = join(layout.links, readFileSync(file, "utf8").trim());
    if (!lstatSync(link, { throwIfNoEntry: false })) symlinkSync(`../${id}/diff`, link);
  }
}

/** Removes a layer's directory and every short link to it; what is gone already is no error. */
export function removeLayerDirectory(layout: Layout, id: string): void {
  const directory = join(layout.overlay, id);
  if (lstatSync(directory, { throwIfNoEntry: false })) {
    const file = join(directory, "link");
    if (existsSync(file)) rmSync(join(layout.links, readFileSync(file, "utf8").trim()), { force: true });
    else removeLinksTo(layout, id);
    rmSync(directory, { recursive: true, force: true });
  }
  rmSync(join(layout.layers, `${id}.tar-split.gz`), { force: true });
  rmSync(join(layout.layers, id), { recursive: true, force: true });
}

/** A writer that died between making a link and noting its name leaves one that only a search finds. */
function removeLinksTo(layout: Layout, id: string): void {
  for (const link of readdirSync(layout.links)) {
    const path = join(layout.links, link);
    if (readlinkSync(path) === `../${id}/diff`) unlinkSync(path);
  }
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

function linkName(): string {
  return Array.from(randomBytes(26), byte => alphabet[byte & 31]).join("");
}

/** Refuses stores that other drivers or helper programs have shaped in a way that a native mount would misread. */
export function refuseForeignShapes(layout: Layout): void {
  const flag = join(layout.overlay, ".has-mount-program");
  if (existsSync(flag) && readFileSync(flag, "utf8").trim() === "true") {
    throw new OcidError(
      "FAILED_PRECONDITION",
      `the store ${layout.root} was written through fuse-overlayfs, which a native overlay mount cannot read; use another --root`,
    );
  }
  for (const driver of ["btrfs", "zfs", "vfs", "aufs"]) {
    if (existsSync(join(layout.root, `${driver}-layers`, "layers.json")))
      throw new OcidError(
        "FAILED_PRECONDITION",
        `the store ${layout.root} belongs to the driver ${driver}; only overlay is supported, use another --root`,
      );
  }
}
