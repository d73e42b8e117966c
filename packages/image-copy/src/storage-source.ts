import { OcidError } from "@ocid/base";
import {
  type Descriptor,
  type Digest,
  digestBytes,
  type ImageConfig,
  type ImageManifest,
  mediaTypes,
  parseDigest,
  parseImageConfig,
  parseManifest,
  parseReference,
  verifyBytes,
  verifyStream,
} from "@ocid/spec";
import type { CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";
import { storageIdentity } from "./policy-scopes.ts";
import type { ImageRecord, ImageStorePort, LayerRecord } from "./ports.ts";
import { readStoredSignatures } from "./signatures/stored-signatures.ts";

/**
 * An image of local storage as the source of a copy. It offers the manifest that it came with; its layers are kept as
 * files, so they are packed again, and keep their digest where the destination has them or packing gives the same.
 */
export async function createStorageSource(store: ImageStorePort, reference: string): Promise<ImageSource> {
  const name = `containers-storage:${reference}`;
  const image = await store.findImage(reference);
  if (!image) throw new OcidError("NOT_FOUND", `image ${reference} is not in local storage; pull it first`);
  const layers = image.layerId === undefined ? [] : [...(await store.layerChain(image.layerId))].reverse();
  const { config, configDigest } = await readStoredConfig(store, image, name);
  const manifest =
    (await readOwnManifest(store, image, digestOf(reference), configDigest, layers.length)) ??
    makeManifest(configDigest, config, layers, parseImageConfig(config), name);
  return {
    name,
    identity: storageIdentity(store.root, image.names, image.id),
    madeUp: !image.bigDataNames.includes("manifest"),
    unpacked: {
      sizeOf: at => layers[at]?.diffSize,
      openTar: (at, options) => openLayer(store, layers, at, name, options),
    },
    async getManifest(digest) {
      if (digest === undefined || digest === manifest.descriptor.digest) return manifest;
      return await readManifest(store, image, digest);
    },
    getSignatures: digest => readStoredSignatures(store, image, digest),
    openBlob(descriptor) {
      if (descriptor.digest === configDigest) return once(config);
      const at = layers.findIndex(layer => layer.diffId === descriptor.digest);
      if (at === -1)
        throw new OcidError(
          "FAILED_PRECONDITION",
          `${name} keeps layer ${descriptor.digest} unpacked; there is only its uncompressed tar`,
        );
      return verifyStream(openLayer(store, layers, at, name), descriptor);
    },
    async blobSource() {
      throw new OcidError("FAILED_PRECONDITION", `${name} keeps its layers unpacked`);
    },
  };
}

function openLayer(
  store: ImageStorePort,
  layers: readonly LayerRecord[],
  at: number,
  name: string,
  options?: CallOptions,
): AsyncIterable<Uint8Array> {
  const layer = layers[at];
  if (!layer) throw new OcidError("DATA_LOSS", `${name} has no layer ${at + 1}`);
  return store.openLayerTar(layer.id, options);
}

export async function readStoredConfig(
  store: ImageStorePort,
  image: ImageRecord,
  name: string,
): Promise<{ readonly config: Uint8Array; readonly configDigest: Digest }> {
  const key =
    image.bigDataNames.find(other => other === `sha256:${image.id}`) ??
    image.bigDataNames.find(other => other.startsWith("sha256:"));
  if (key === undefined) throw new OcidError("DATA_LOSS", `${name} has no config in local storage`);
  const config = await store.readImageData(image.id, key);
  const configDigest = parseDigest(key);
  verifyBytes(config, { digest: configDigest, size: config.byteLength });
  return { config, configDigest };
}

/** The manifest under which the image is stored; undefined where it describes something else, or there is none. */
async function readOwnManifest(
  store: ImageStorePort,
  image: ImageRecord,
  digest: Digest | undefined,
  configDigest: Digest,
  layers: number,
): Promise<ManifestBytes | undefined> {
  const keys = [...(digest === undefined ? [] : [`manifest-${digest}`]), "manifest"];
  for (const key of keys) {
    if (!image.bigDataNames.includes(key)) continue;
    const found = describe(await store.readImageData(image.id, key));
    const parsed = parseManifest(found.bytes);
    if (parsed.kind !== "image") continue;
    if (parsed.manifest.config.digest !== configDigest || parsed.manifest.layers.length !== layers) continue;
    return { ...found, descriptor: { ...found.descriptor, mediaType: parsed.mediaType } };
  }
  return undefined;
}

async function readManifest(
  store: ImageStorePort,
  image: ImageRecord,
  digest: Digest,
): Promise<ManifestBytes> {
  const bytes = await store.readImageData(image.id, `manifest-${digest}`);
  verifyBytes(bytes, { digest, size: bytes.byteLength });
  return describe(bytes);
}

function describe(bytes: Uint8Array): ManifestBytes {
  const { mediaType } = parseManifest(bytes);
  return { bytes, descriptor: { mediaType, digest: digestBytes(bytes), size: bytes.byteLength } };
}

/** For an image that was stored without a manifest: its layers as they are here, plain. */
function makeManifest(
  configDigest: Digest,
  config: Uint8Array,
  layers: readonly LayerRecord[],
  { rootfs }: ImageConfig,
  name: string,
): ManifestBytes {
  const descriptors = layers.map((layer, at): Descriptor => {
    if (layer.diffSize === undefined || layer.diffId === undefined || layer.diffId !== rootfs.diff_ids[at])
      throw new OcidError("DATA_LOSS", `${name} has neither a manifest nor what it takes to make one`);
    return { mediaType: mediaTypes.ociLayer, digest: layer.diffId, size: layer.diffSize };
  });
  const document: ImageManifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.ociConfig, digest: configDigest, size: config.byteLength },
    layers: descriptors,
  };
  return describe(Buffer.from(JSON.stringify(document)));
}

function digestOf(reference: string): Digest | undefined {
  try {
    return parseReference(reference).digest;
  } catch {
    return undefined;
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
