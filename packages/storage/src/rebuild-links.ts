import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { linkName } from "./layer-directory.ts";
import type { LayerRecord } from "./layer-records.ts";
import { type CallOptions, findLayer, lockContext, type StoreParts } from "./store-parts.ts";
import { syncPaths, writeRecord } from "./write-record.ts";

/**
 * Makes short links, `link` and `lower` files again from the records, from the base layers up. Returns the ids of the
 * layers that needed it.
 */
export async function rebuildLinks(parts: StoreParts, options: CallOptions = {}): Promise<readonly string[]> {
  return await parts.layers.change(lockContext(parts, options), async layers => {
    const mended: string[] = [];
    for (const layer of parentsFirst(layers.list())) {
      const directory = join(parts.layout.overlay, layer.id);
      if (!existsSync(join(directory, "diff"))) continue;
      const linked = await rebuildLink(parts, layer.id);
      const lowered = await rebuildLower(parts, layer);
      if (linked || lowered) mended.push(layer.id);
    }
    if (mended.length > 0) await syncPaths([parts.layout.links]);
    return mended;
  });
}

async function rebuildLink(parts: StoreParts, id: string): Promise<boolean> {
  const file = join(parts.layout.overlay, id, "link");
  const noted = existsSync(file) ? readFileSync(file, "utf8").trim() : "";
  if (/^[A-Za-z0-9]+$/.test(noted)) {
    const path = join(parts.layout.links, noted);
    if (lstatSync(path, { throwIfNoEntry: false })) return false;
    symlinkSync(`../${id}/diff`, path);
    return true;
  }
  const found = readdirSync(parts.layout.links).find(name => pointsTo(join(parts.layout.links, name), id));
  const link = found ?? linkName();
  if (!found) symlinkSync(`../${id}/diff`, join(parts.layout.links, link));
  await writeRecord(file, link, { lasting: true });
  return true;
}

function pointsTo(path: string, id: string): boolean {
  return lstatSync(path).isSymbolicLink() && readlinkSync(path) === `../${id}/diff`;
}

async function rebuildLower(parts: StoreParts, { id, parentId }: LayerRecord): Promise<boolean> {
  const parent = parentId === undefined ? undefined : findLayer(parts, parentId);
  if (!parent) return false;
  const below = join((parent.store?.layout ?? parts.layout).overlay, parent.layer.id);
  const read = (path: string) => (existsSync(path) ? readFileSync(path, "utf8").trim() : "");
  const lower = [`l/${read(join(below, "link"))}`, read(join(below, "lower"))].filter(Boolean).join(":");
  const path = join(parts.layout.overlay, id, "lower");
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
