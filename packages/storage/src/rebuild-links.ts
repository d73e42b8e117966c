import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { linkName } from "./layer-directory.ts";
import type { LayerRecord } from "./layer-row.ts";
import { type Layout, placesOf } from "./layout.ts";
import { type CallOptions, findLayer, layoutOfLayer, lockContext, type StoreParts } from "./store-parts.ts";
import { syncPaths, writeRecord } from "./write-record.ts";

/**
 * Makes short links, `link` and `lower` files again from the records, from the base layers up. Returns the ids of the
 * layers that needed it.
 */
export async function rebuildLinks(parts: StoreParts, options: CallOptions = {}): Promise<readonly string[]> {
  return await parts.layers.change(lockContext(parts, options), async layers => {
    const mended: string[] = [];
    for (const layer of parentsFirst(layers.list())) {
      const layout = layoutOfLayer(parts, layer.id);
      if (!existsSync(join(layout.overlay, layer.id, "diff"))) continue;
      const linked = await rebuildLink(layout, layer.id);
      const lowered = await rebuildLower(parts, layout, layer);
      if (linked || lowered) mended.push(layer.id);
    }
    if (mended.length > 0) await syncPaths(placesOf(parts.layout).map(({ links }) => links));
    return mended;
  });
}

async function rebuildLink({ overlay, links }: Layout, id: string): Promise<boolean> {
  const file = join(overlay, id, "link");
  const noted = existsSync(file) ? readFileSync(file, "utf8").trim() : "";
  if (/^[A-Za-z0-9]+$/.test(noted)) {
    const path = join(links, noted);
    if (lstatSync(path, { throwIfNoEntry: false })) return false;
    symlinkSync(`../${id}/diff`, path);
    return true;
  }
  const found = readdirSync(links).find(name => pointsTo(join(links, name), id));
  const link = found ?? linkName();
  if (!found) symlinkSync(`../${id}/diff`, join(links, link));
  await writeRecord(file, link, { lasting: true });
  return true;
}

function pointsTo(path: string, id: string): boolean {
  return lstatSync(path).isSymbolicLink() && readlinkSync(path) === `../${id}/diff`;
}

async function rebuildLower(
  parts: StoreParts,
  { overlay }: Layout,
  { id, parentId }: LayerRecord,
): Promise<boolean> {
  const parent = parentId === undefined ? undefined : findLayer(parts, parentId);
  if (!parent) return false;
  const below = join(parent.layout.overlay, parent.layer.id);
  const read = (path: string) => (existsSync(path) ? readFileSync(path, "utf8").trim() : "");
  const lower = [`l/${read(join(below, "link"))}`, read(join(below, "lower"))].filter(Boolean).join(":");
  const path = join(overlay, id, "lower");
  if (read(path) === lower) return false;
  await writeRecord(path, lower, { lasting: true });
  return true;
}

function parentsFirst(layers: readonly LayerRecord[]): readonly LayerRecord[] {
  const byId = new Map(layers.map(layer => [layer.id, layer]));
  const ordered = new Set<LayerRecord>();
  const visit = (layer: LayerRecord, depth: number) => {
    const parent = layer.parentId === undefined ? undefined : byId.get(layer.parentId);
    if (parent && depth < layers.length && !ordered.has(parent)) visit(parent, depth + 1);
    ordered.add(layer);
  };
  for (const layer of layers) visit(layer, 0);
  return [...ordered];
}
