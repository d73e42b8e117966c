import { isOcidError, OcidError } from "@ocid/base";
import { type DiffId, type Digest, digestHex, type ImageConfig, parseImageConfig } from "@ocid/spec";
import { isImageConfig } from "./convert-manifest.ts";
import { refuseForeignLayers } from "./copy-blobs.ts";
import { onSide } from "./copy-side.ts";
import type { ImageRecord } from "./ports.ts";
import { readConfig } from "./read-config.ts";
import type { ImageSignature } from "./signatures/image-signature.ts";
import {
  readStoredSignatures,
  type StoredSignatures,
  storeSignatures,
  uniqueSignatures,
} from "./signatures/stored-signatures.ts";
import { type StorageCopy, unpackLayers } from "./unpack-layers.ts";

/**
 * Fetches and unpacks the layers that the store does not have, several at once, and publishes the image. Layers are
 * published from the base up as they become ready; the image last.
 */
export async function copyIntoStorage(copy: StorageCopy): Promise<ImageRecord> {
  const { source, image, meter, signal } = copy;
  const { config: configDescriptor, layers } = image.parsed;
  const configBytes = await readImageConfig(copy);
  const config = parseImageConfig(configBytes);
  const stack = config.rootfs.diff_ids;
  if (stack.length !== layers.length)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${source.name} has ${layers.length} layers, but its config names ${stack.length}`,
    );
  refuseForeignLayers(layers, source.name);
  meter.expect([configDescriptor, ...layers]);
  meter.done(configDescriptor, false);
  // A policy that wants signatures has read them by now; that others cannot be had is no reason to do without the image.
  const signatures = readSignatures(copy).catch(() => undefined);
  const publish = async () => {
    await unpackLayers(copy, image.parsed, stack);
    signal?.throwIfAborted();
    return await putImage(copy, { bytes: configBytes, config }, stack, await signatures);
  };
  try {
    return await publish();
  } catch (error) {
    // Until the image's record holds its layers, another program may remove those that nothing else needs: once more,
    // for those that are missing now.
    if (!isOcidError(error) || error.reason !== "LayerMissing") throw error;
    signal?.throwIfAborted();
    return await publish();
  }
}

async function putImage(
  { destination, image, signal }: StorageCopy,
  { bytes, config }: { readonly bytes: Uint8Array; readonly config: ImageConfig },
  stack: readonly DiffId[],
  signatures: StoredSignatures | undefined,
): Promise<ImageRecord> {
  const { index, manifest } = image;
  const configDigest = image.parsed.config.digest;
  return await onSide("destination", destination.name, () =>
    destination.store.putImage(
      {
        id: digestHex(configDigest),
        names: destination.names,
        stack,
        created: isTimestamp(config.created) ? config.created : undefined,
        bigData: [
          { key: configDigest, bytes },
          ...(index ? [{ key: `manifest-${index.descriptor.digest}`, bytes: index.bytes }] : []),
          { key: `manifest-${manifest.descriptor.digest}`, bytes: manifest.bytes },
          { key: "manifest", bytes: manifest.bytes },
          ...(signatures?.bigData ?? []),
        ],
        metadata: signatures?.metadata,
      },
      { signal },
    ),
  );
}

/**
 * The image's signatures go with it, so that it can be held against a policy again without its registry; with those
 * that it has here from elsewhere. Undefined for a source that has none to give, and where there are none.
 */
async function readSignatures({
  source,
  destination: { store },
  image: { index, manifest, parsed },
  signal,
}: StorageCopy): Promise<StoredSignatures | undefined> {
  if (!source.getSignatures) return undefined;
  const before = await store.findImage(digestHex(parsed.config.digest));
  const found = new Map<Digest, readonly ImageSignature[]>();
  for (const { descriptor } of index ? [manifest, index] : [manifest]) {
    const kept = before ? await readStoredSignatures(store, before, descriptor.digest) : [];
    const read = await source.getSignatures(descriptor.digest, { signal });
    found.set(descriptor.digest, uniqueSignatures([...read, ...kept]));
  }
  if ([...found.values()].every(list => list.length === 0)) return undefined;
  return storeSignatures(manifest.descriptor.digest, found);
}

async function readImageConfig({ source, image, signal }: StorageCopy): Promise<Uint8Array> {
  const { config } = image.parsed;
  if (!isImageConfig(config.mediaType))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${source.name} is an artifact (${config.mediaType}), not an image that can be run`,
      { reason: "NotAnImage" },
    );
  return await readConfig(source, config, { signal });
}

function isTimestamp(text: string | undefined): boolean {
  return (
    text !== undefined &&
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/.test(text) &&
    !Number.isNaN(Date.parse(text))
  );
}
