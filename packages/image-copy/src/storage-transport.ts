import { createHash } from "node:crypto";
import { OcidError } from "@ocid/base";
import { compress } from "@ocid/layer";
import {
  type Descriptor,
  type Digest,
  digestBytes,
  type ImageConfig,
  isForeignLayer,
  mediaTypes,
  parseImageConfig,
  parseManifest,
  type Reference,
  referenceName,
  verifyBytes,
} from "@ocid/spec";
import type { CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";
import type { ImageRecord, ImageStorePort, StagedLayer } from "./ports.ts";
import type { ProgressMeter } from "./progress.ts";

/** An image in local storage as the destination of a copy. */
export interface StorageDestination {
  readonly kind: "storage";
  readonly name: string;
  readonly store: ImageStorePort;
  /** Under which names it is kept: `registry/repository:tag`, and `registry/repository@digest` for what was asked for by digest. */
  readonly names: readonly string[];
}

export function createStorageDestination(store: ImageStorePort, reference: Reference): StorageDestination {
  return {
    kind: "storage",
    name: `containers-storage:${referenceName(reference)}`,
    store,
    names: storedNames(reference),
  };
}

/** A reference with tag and digest is kept under both. */
export function storedNames(reference: Reference): readonly string[] {
  const name = referenceName(reference);
  return [
    ...(reference.digest === undefined ? [] : [`${name}@${reference.digest}`]),
    ...(reference.tag === undefined ? [] : [`${name}:${reference.tag}`]),
  ];
}

/** One platform's image on its way into storage, with the index through which it was found. */
export interface StorageCopy {
  readonly manifest: ManifestBytes;
  readonly index: ManifestBytes | undefined;
}

/**
 * Fetches and unpacks the layers that the store does not have, several at once, and publishes the image. Layers are
 * published from the base up as they become ready; the image last.
 */
export async function copyIntoStorage(
  source: ImageSource,
  destination: StorageDestination,
  { manifest, index }: StorageCopy,
  meter: ProgressMeter,
  options: CallOptions,
): Promise<ImageRecord> {
  const parsed = parseManifest(manifest.bytes, manifest.descriptor.mediaType);
  if (parsed.kind !== "image")
    throw new OcidError("INVALID_ARGUMENT", `${source.name} is an index where an image was expected`);
  const { config: configDescriptor, layers } = parsed.manifest;
  if (
    configDescriptor.mediaType !== mediaTypes.ociConfig &&
    configDescriptor.mediaType !== mediaTypes.dockerConfig
  ) {
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${source.name} is an artifact (${configDescriptor.mediaType}), not an image that can be run`,
    );
  }
  const configBytes = await collect(source, configDescriptor, options);
  const config = parseImageConfig(configBytes);
  const stack = config.rootfs.diff_ids;
  if (stack.length !== layers.length)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${source.name} has ${layers.length} layers, but its config names ${stack.length}`,
    );
  for (const layer of layers)
    if (isForeignLayer(layer.mediaType))
      throw new OcidError(
        "FAILED_PRECONDITION",
        `layer ${layer.digest} of ${source.name} is kept outside of the registry (${layer.mediaType}), which is not followed`,
      );
  meter.expect([configDescriptor, ...layers]);
  meter.done(configDescriptor, false);
  await copyLayers(source, destination, layers, config, meter, options);
  options.signal?.throwIfAborted();
  return await destination.store.putImage({
    id: configDescriptor.digest.slice(configDescriptor.digest.indexOf(":") + 1),
    names: destination.names,
    stack,
    created: config.created,
    bigData: [
      { key: configDescriptor.digest, bytes: configBytes },
      ...(index ? [{ key: `manifest-${index.descriptor.digest}`, bytes: index.bytes }] : []),
      { key: `manifest-${manifest.descriptor.digest}`, bytes: manifest.bytes },
      { key: "manifest", bytes: manifest.bytes },
    ],
  });
}

async function copyLayers(
  source: ImageSource,
  { store }: StorageDestination,
  layers: readonly Descriptor[],
  config: ImageConfig,
  meter: ProgressMeter,
  options: CallOptions,
): Promise<void> {
  const stack = config.rootfs.diff_ids;
  const missing = new Set<number>();
  for (const [at, layer] of layers.entries()) {
    if (await store.findLayer(stack.slice(0, at + 1))) meter.done(layer, true);
    else missing.add(at);
  }
  if (missing.size === 0) return;
  const controller = new AbortController();
  const abort = () => controller.abort(options.signal?.reason);
  options.signal?.addEventListener("abort", abort, { once: true });
  // The largest first: it decides when the last one is done. The pool keeps the rest waiting.
  const order = [...missing].sort((a, b) => layers[b]!.size - layers[a]!.size);
  const staged = new Map<number, Promise<StagedLayer>>();
  try {
    for (const at of order) {
      const descriptor = layers[at]!;
      meter.start(descriptor);
      const work = source.blobSource(descriptor, { signal: controller.signal }).then(blob =>
        store.stageLayer({
          descriptor,
          source: blob,
          diffId: stack[at]!,
          signal: controller.signal,
          onBytes: bytes => meter.bytes(descriptor, bytes),
        }),
      );
      work.catch(error => controller.abort(error));
      staged.set(at, work);
    }
    for (const at of [...missing].sort((a, b) => a - b)) {
      await using layer = await staged.get(at)!;
      await store.commitLayer(layer, stack.slice(0, at));
      staged.delete(at);
      meter.done(layers[at]!, false);
    }
  } catch (error) {
    controller.abort(error);
    for (const work of staged.values())
      await work.then(layer => layer[Symbol.asyncDispose]()).catch(() => {});
    throw controller.signal.aborted && !options.signal?.aborted ? controller.signal.reason : error;
  } finally {
    options.signal?.removeEventListener("abort", abort);
  }
}

/** An image of local storage as the source of a copy. Layers are rebuilt bit for bit and compressed again, so the manifest is a new one. */
export async function createStorageSource(store: ImageStorePort, reference: string): Promise<ImageSource> {
  const image = await store.findImage(reference);
  if (!image) throw new OcidError("NOT_FOUND", `image ${reference} is not in local storage; pull it first`);
  const configKey =
    image.bigDataNames.find(key => key === `sha256:${image.id}`) ??
    image.bigDataNames.find(key => key.startsWith("sha256:"));
  if (configKey === undefined)
    throw new OcidError("DATA_LOSS", `image ${reference} has no config in local storage`);
  const config = await store.readImageData(image.id, configKey);
  const chain = image.layerId === undefined ? [] : [...(await store.layerChain(image.layerId))].reverse();
  const layerOf = new Map<Digest, string>();
  const open = (descriptor: Descriptor, options: CallOptions = {}): AsyncIterable<Uint8Array> => {
    const layerId = layerOf.get(descriptor.digest);
    if (layerId !== undefined) return compress(store.openLayerTar(layerId), "gzip", options.signal);
    return (async function* () {
      yield config;
    })();
  };
  let manifest: ManifestBytes | undefined;
  const build = async (): Promise<ManifestBytes> => {
    const layers: Descriptor[] = [];
    for (const layer of chain) {
      const descriptor = await describeCompressed(store, layer.id);
      layerOf.set(descriptor.digest, layer.id);
      layers.push(descriptor);
    }
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config: { mediaType: mediaTypes.ociConfig, digest: configKey, size: config.byteLength },
        layers,
      }),
    );
    return {
      descriptor: { mediaType: mediaTypes.ociManifest, digest: digestBytes(bytes), size: bytes.byteLength },
      bytes,
    };
  };
  return {
    name: `containers-storage:${reference}`,
    async getManifest() {
      manifest ??= await build();
      return manifest;
    },
    openBlob: open,
    blobSource: async descriptor => ({
      kind: "stream",
      open: (offset, signal) => skip(open(descriptor, { signal }), offset),
    }),
  };
}

/** What a layer will be when compressed: it is done once to know, and once more to send, rather than kept. */
async function describeCompressed(store: ImageStorePort, layerId: string): Promise<Descriptor> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of compress(store.openLayerTar(layerId), "gzip")) {
    hash.update(chunk);
    size += chunk.byteLength;
  }
  return { mediaType: mediaTypes.ociLayerGzip, digest: `sha256:${hash.digest("hex")}` as Digest, size };
}

async function* skip(
  source: AsyncIterable<Uint8Array>,
  offset: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let left = offset;
  for await (const chunk of source) {
    if (left < chunk.byteLength) yield chunk.subarray(left);
    left = Math.max(0, left - chunk.byteLength);
  }
}

/** Reads a small blob into memory and verifies it. */
export async function collect(
  source: ImageSource,
  descriptor: Descriptor,
  options: CallOptions,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  if (descriptor.size > 4 * 1024 * 1024)
    throw new OcidError(
      "RESOURCE_EXHAUSTED",
      `${descriptor.digest} of ${source.name} has ${descriptor.size} bytes, more than a config may have`,
    );
  for await (const chunk of source.openBlob(descriptor, options)) {
    size += chunk.byteLength;
    if (size > descriptor.size) break;
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  verifyBytes(bytes, descriptor);
  return bytes;
}
