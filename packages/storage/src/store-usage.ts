import { join } from "node:path";
import { type DiskUsage, diskUsage } from "./disk-usage.ts";
import { overlayOf } from "./image-disk-usage.ts";
import { limitedUsage } from "./layer-quota.ts";
import { type CallOptions, getContainer, type StoreParts } from "./store-parts.ts";

export interface StoreUsage {
  readonly images: DiskUsage;
  /** Writable layers. */
  readonly containers: DiskUsage;
}

/** Disk space of this store's image layers and data, and of writable layers. */
export async function storeUsage(parts: StoreParts, options: CallOptions = {}): Promise<StoreUsage> {
  const { layers, images, containers, layerUsage } = parts;
  const writable = new Set(containers.list().map(container => container.layerId));
  const held = new Set(containers.holders().map(container => container.layerId));
  const ids = layers.list().flatMap(layer => (held.has(layer.id) ? [] : [layer.id]));
  const known = await layerUsage.of(ids, overlayOf(parts), options.signal);
  const data = images.list().map(image => ({
    bytes: image.bigDataBytes,
    inodes: image.bigDataNames.length + 1,
  }));
  const running: DiskUsage[] = [];
  for (const id of writable) running.push(await writableUsage(parts, id, options));
  return {
    images: total([...ids.flatMap(id => known.get(id) ?? []), ...data]),
    containers: total(running),
  };
}

/** Disk space of a container's writable layer. */
export async function containerUsage(
  parts: StoreParts,
  id: string,
  options: CallOptions = {},
): Promise<DiskUsage> {
  return await writableUsage(parts, getContainer(parts, id).layerId, options);
}

async function writableUsage(parts: StoreParts, layerId: string, options: CallOptions): Promise<DiskUsage> {
  const directory = join(parts.layout.overlay, layerId);
  return limitedUsage(directory) ?? (await diskUsage(join(directory, "diff"), options.signal));
}

function total(parts: readonly DiskUsage[]): DiskUsage {
  return parts.reduce((sum, part) => ({ bytes: sum.bytes + part.bytes, inodes: sum.inodes + part.inodes }), {
    bytes: 0,
    inodes: 0,
  });
}
