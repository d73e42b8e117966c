import { OcidError } from "@ocid/base";
import type { ImageRecord } from "./image-records.ts";
import { type CallOptions, getImage, lockContext, mountsOf, type StoreParts } from "./store-parts.ts";

/** An image as a file system. */
export interface MountedImage {
  readonly path: string;
  readonly imageId: string;
  /** Its topmost layer, under which the mount is counted. */
  readonly layerId: string;
}

/** Mounts an image read-only, or counts one more user of the mount. */
export async function mountImage(
  parts: StoreParts,
  reference: string,
  options: CallOptions = {},
): Promise<MountedImage> {
  const { id, layerId } = getImage(parts, reference);
  if (layerId === undefined)
    throw new OcidError("FAILED_PRECONDITION", `image ${reference} has no layers to mount`);
  const path = await mountsOf(parts, layerId).mount(lockContext(parts, options), layerId, { readOnly: true });
  return { path, imageId: id, layerId };
}

/** Gives a mount of an image back, with `all` every one; false when it was not mounted. */
export async function unmountImage(
  parts: StoreParts,
  image: string | Pick<MountedImage, "layerId">,
  options: CallOptions & { readonly all?: boolean } = {},
): Promise<boolean> {
  const { layerId } = typeof image === "string" ? getImage(parts, image) : image;
  if (layerId === undefined) return false;
  return await mountsOf(parts, layerId).unmount(lockContext(parts, options), layerId, {
    all: options.all ?? false,
  });
}

/** Where an image is mounted, when it is. */
export function imageMountPath(parts: StoreParts, { layerId }: ImageRecord): string | undefined {
  if (layerId === undefined) return undefined;
  const mounts = mountsOf(parts, layerId);
  return mounts.users(layerId) > 0 ? mounts.pathOf(layerId) : undefined;
}
