import { OcidError } from "@ocid/base";
import type { ContainerRecord } from "./container-records.ts";
import { findImage } from "./find-image.ts";
import type { ImageRecord } from "./image-records.ts";
import type { LayerChange } from "./layer-records.ts";
import type { LayerRecord } from "./layer-row.ts";
import { allImages, type CallOptions, lockContext, type StoreParts } from "./store-parts.ts";

export interface RemovedImage {
  /** Ids of the layers that nothing else needed, from the top down. */
  readonly removedLayers: readonly string[];
}

/**
 * Removes an image with all its names and the layers that nothing else needs. What is gone already is no error;
 * FAILED_PRECONDITION names who uses it: containers of whatever program, or mounts.
 */
export async function removeImage(
  parts: StoreParts,
  reference: string,
  options: CallOptions = {},
): Promise<RemovedImage> {
  const context = lockContext(parts, options);
  return await parts.layers.change(context, layers =>
    parts.images.change(context, images =>
      parts.containers.change(context, async () => {
        const image = findImage(images.list(), reference);
        if (!image) {
          refuseReadOnly(parts, reference);
          return { removedLayers: [] };
        }
        refuseInUse(parts, reference, image);
        await images.remove(image.id);
        const needed = neededLayers(images.list(), parts.containers.holders());
        const removedLayers = unneeded(layers, image, needed);
        for (const id of removedLayers) await parts.mounts.unmountLocked(context, id, { all: true });
        await layers.remove(removedLayers);
        return { removedLayers };
      }),
    ),
  );
}

function refuseReadOnly(parts: StoreParts, reference: string): void {
  const image = findImage(allImages(parts), reference);
  if (image)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `image ${reference} is in an additional store, which is only read; remove it there`,
    );
}

/** FAILED_PRECONDITION names the containers and mounts that use an image. */
export function refuseInUse(parts: StoreParts, reference: string, image: ImageRecord): void {
  const users = parts.containers.holders().filter(container => container.imageId === image.id);
  if (users.length > 0)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `image ${reference} is in use by ${users.map(user => user.names[0] ?? user.id).join(", ")}; remove that first`,
      { reason: "ImageInUse" },
    );
  const mounts = image.layerId === undefined ? 0 : parts.mounts.users(image.layerId);
  if (mounts > 0)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `image ${reference} is mounted at ${parts.mounts.pathOf(image.layerId!)} (${mounts} users); unmount it first`,
      { reason: "ImageInUse" },
    );
}

/** Layers that images and containers stand on directly. */
export function neededLayers(
  images: readonly ImageRecord[],
  containers: readonly ContainerRecord[],
): ReadonlySet<string> {
  return new Set([
    ...images.flatMap(image => [...(image.layerId ? [image.layerId] : []), ...image.mappedLayerIds]),
    ...containers.map(container => container.layerId),
  ]);
}

/** The layers of an image, its copies for other ids included, down to the first that something else needs. */
export function unneeded(
  layers: Pick<LayerChange, "find" | "list">,
  image: ImageRecord,
  needed: ReadonlySet<string>,
): readonly string[] {
  const all = layers.list();
  const removed = new Set<string>();
  const walk = (from: string | undefined) => {
    for (let layer: LayerRecord | undefined = from === undefined ? undefined : layers.find(from); layer; ) {
      const { id, parentId } = layer;
      const held = needed.has(id) || all.some(other => other.parentId === id && !removed.has(other.id));
      if (held || removed.has(id)) return;
      removed.add(id);
      layer = parentId === undefined ? undefined : layers.find(parentId);
    }
  };
  for (const mapped of image.mappedLayerIds) walk(mapped);
  walk(image.layerId);
  return [...removed];
}
