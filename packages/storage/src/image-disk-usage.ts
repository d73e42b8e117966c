import { existsSync, lstatSync } from "node:fs";
import { join } from "node:path";
import { diskUsage } from "./disk-usage.ts";
import type { ImageRecord } from "./image-records.ts";
import { placesOf } from "./layout.ts";
import { neededLayers, unneeded } from "./remove-image.ts";
import { type CallOptions, layerChain, type StoreParts } from "./store-parts.ts";

/** What an image takes on the disk, and how much of that removing it gives back. */
export interface ImageDiskUsage {
  readonly image: ImageRecord;
  /** Bytes of all its layers and data. */
  readonly bytes: number;
  /** Bytes that nothing else needs: what `removeImage` frees. Zero for an image that containers use. */
  readonly freeableBytes: number;
  /** Ids of the containers, of whatever program, that hold it. */
  readonly containerIds: readonly string[];
}

export async function imageDiskUsage(
  parts: StoreParts,
  options: CallOptions = {},
): Promise<readonly ImageDiskUsage[]> {
  const images = parts.images.list();
  const containers = parts.containers.holders();
  const result: ImageDiskUsage[] = [];
  const bytesOf = async (ids: readonly string[]) => {
    const known = await parts.layerUsage.of(ids, overlayOf(parts), options.signal);
    let bytes = 0;
    for (const id of ids) bytes += (known.get(id)?.bytes ?? 0) + (await besideLayers(parts, id));
    return bytes;
  };
  for (const image of images) {
    const chain = image.layerId === undefined ? [] : layerChain(parts, image.layerId);
    const own = chain.flatMap(layer => (parts.layers.find(layer.id) ? [layer.id] : []));
    const containerIds = containers.filter(({ imageId }) => imageId === image.id).map(({ id }) => id);
    const others = images.filter(other => other.id !== image.id);
    const freed =
      containerIds.length > 0 ? [] : unneeded(parts.layers, image, neededLayers(others, containers));
    const data = await treeBytes(parts.images.directoryOf(image.id));
    result.push({
      image,
      bytes: (await bytesOf(own)) + data,
      freeableBytes: containerIds.length > 0 ? 0 : (await bytesOf(freed)) + data,
      containerIds,
    });
  }
  return result;
}

/** In which overlay directory each layer of the store lies. */
export function overlayOf(parts: StoreParts): (id: string) => string {
  return id => (parts.layers.layoutOf(id) ?? parts.layout).overlay;
}

/** A layer's tar-split and big data. */
async function besideLayers(parts: StoreParts, id: string): Promise<number> {
  let bytes = 0;
  for (const { layers } of placesOf(parts.layout)) {
    const split = lstatSync(join(layers, `${id}.tar-split.gz`), { throwIfNoEntry: false });
    bytes += (split?.blocks ?? 0) * 512 + (await treeBytes(join(layers, id)));
  }
  return bytes;
}

async function treeBytes(directory: string): Promise<number> {
  if (!existsSync(directory)) return 0;
  return lstatSync(directory).blocks * 512 + (await diskUsage(directory)).bytes;
}
