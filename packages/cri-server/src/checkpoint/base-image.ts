import { messageOf, OcidError } from "@ocid/base";
import type { CallOptions, ImagePort, StoredImage } from "../ports.ts";

/**
 * The image that a checkpoint's container was made of, by what the checkpoint says of it: an id, `repository@digest`, or
 * both. A tag does not count: it may be another image by now. What is not on the node is pulled, with the node's own
 * credentials, because nobody gives others when a container is made.
 */
export async function findBaseImage(
  images: ImagePort,
  references: readonly string[],
  options: CallOptions & { readonly namespace: string },
): Promise<StoredImage> {
  const ids = references.map(idOf).filter(id => id !== undefined);
  const names = references.filter(reference => /^[^@\s]+@sha256:[0-9a-f]{64}$/.test(reference));
  if (ids.length + names.length === 0)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `the checkpoint does not say by id or digest which image its container was made of (${shown(references)})`,
      { reason: "BadCheckpoint" },
    );
  const image =
    (await findOne(images, [...ids, ...names], options)) ??
    (await pull(images, names[0], references, options));
  const other = ids.find(id => image.id !== `sha256:${id}`);
  if (other !== undefined)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `the checkpoint's container was made of image ${other}, but ${shown(names)} is ${image.id}`,
      { reason: "BadCheckpoint" },
    );
  return image;
}

async function findOne(
  images: ImagePort,
  references: readonly string[],
  options: CallOptions,
): Promise<StoredImage | undefined> {
  for (const reference of references) {
    const image = await images.find(reference, options);
    if (image) return image;
  }
  return undefined;
}

async function pull(
  images: ImagePort,
  name: string | undefined,
  references: readonly string[],
  options: CallOptions & { readonly namespace: string },
): Promise<StoredImage> {
  const missing = `image ${shown(references)}, of which the checkpoint's container was made, is not on this node`;
  if (name === undefined)
    throw new OcidError("FAILED_PRECONDITION", `${missing}; pull it, by whichever name it has`, {
      reason: "BaseImageMissing",
    });
  try {
    return await images.pull(name, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    if ((error as OcidError).reason === "PolicyRejected") throw error;
    throw new OcidError(
      "FAILED_PRECONDITION",
      `${missing}, and could not be pulled with the node's own credentials; pull it first: ${messageOf(error)}`,
      { reason: "BaseImageMissing", cause: error },
    );
  }
}

function idOf(reference: string): string | undefined {
  return /^(?:sha256:)?([0-9a-f]{64})$/.exec(reference)?.[1];
}

function shown(references: readonly string[]): string {
  return references.map(reference => JSON.stringify(reference.slice(0, 200))).join(", ") || "nothing";
}
