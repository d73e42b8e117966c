import { createHash } from "node:crypto";
import { codeOf, isOcidError, messageOf, OcidError } from "@ocid/base";
import { digestAlgorithm, digestBytes, finishDigest, parseImageConfig } from "@ocid/spec";
import type { CallOptions } from "./image-source.ts";
import type { ImageRecord, ImageStorePort } from "./ports.ts";
import { readStoredConfig } from "./storage-source.ts";

/**
 * Reads a stored image through: its data against their digests, its layers against the diffIDs of its config. DATA_LOSS
 * names the item, the layer and, where the store can tell, the file that has changed, in the message and as
 * `details.item`, `details.layer` (its diffID) and `details.file`.
 */
export async function verifyStoredImage(
  store: ImageStorePort,
  image: ImageRecord,
  { signal }: CallOptions = {},
): Promise<void> {
  const name = image.names[0] ?? image.id;
  for (const key of image.bigDataNames) {
    signal?.throwIfAborted();
    const expected = image.bigDataDigests[key];
    if (expected === undefined) continue;
    const found = digestBytes(await store.readImageData(image.id, key), digestAlgorithm(expected));
    if (found !== expected)
      throw new OcidError("DATA_LOSS", `${key} of image ${name} has digest ${found}, expected ${expected}`, {
        details: { item: key },
      });
  }
  const { config } = await readStoredConfig(store, image, `image ${name}`);
  const stack = parseImageConfig(config).rootfs.diff_ids;
  const layers = image.layerId === undefined ? [] : [...(await store.layerChain(image.layerId))].reverse();
  if (layers.length !== stack.length)
    throw new OcidError(
      "DATA_LOSS",
      `image ${name} has ${layers.length} layers, but its config names ${stack.length}`,
    );
  for (const [at, layer] of layers.entries()) {
    const expected = stack[at]!;
    const what = `layer ${at + 1} (${expected}) of image ${name}`;
    const hash = createHash(digestAlgorithm(expected));
    try {
      for await (const chunk of store.openLayerTar(layer.id, { signal })) hash.update(chunk);
    } catch (error) {
      signal?.throwIfAborted();
      const details = { layer: expected, ...(isOcidError(error) ? error.details : {}) };
      throw new OcidError(codeOf(error, "INTERNAL"), `${what}: ${messageOf(error)}`, {
        cause: error,
        details,
      });
    }
    const found = finishDigest(hash, digestAlgorithm(expected));
    if (found !== expected)
      throw new OcidError("DATA_LOSS", `${what} has diffID ${found}`, { details: { layer: expected } });
  }
}
