import { isOcidError, linkSignal, messageOf, OcidError } from "@ocid/base";
import {
  type Descriptor,
  type DiffId,
  type Digest,
  digestHex,
  type ImageConfig,
  type ImageManifest,
  mediaTypes,
  parseImageConfig,
} from "@ocid/spec";
import { isImageConfig } from "./convert-manifest.ts";
import { refuseForeignLayers } from "./copy-blobs.ts";
import { onSide, readingFrom, sideError } from "./copy-side.ts";
import type { CallOptions, ImageSource } from "./image-source.ts";
import type { ImageRecord, ImageStorePort, StagedLayer } from "./ports.ts";
import type { ProgressMeter } from "./progress.ts";
import { readConfig } from "./read-config.ts";
import type { ResolvedImage } from "./resolve-image.ts";
import type { ImageSignature } from "./signatures/image-signature.ts";
import {
  readStoredSignatures,
  type StoredSignatures,
  storeSignatures,
  uniqueSignatures,
} from "./signatures/stored-signatures.ts";
import type { StorageDestination } from "./storage-destination.ts";

interface StorageCopy extends CallOptions {
  readonly source: ImageSource;
  readonly destination: StorageDestination;
  readonly image: ResolvedImage;
  readonly meter: ProgressMeter;
}

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
    await copyLayers(copy, image.parsed, stack);
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

async function copyLayers(
  copy: StorageCopy,
  { layers }: ImageManifest,
  stack: readonly DiffId[],
): Promise<void> {
  const { destination, meter } = copy;
  const { store } = destination;
  const missing: number[] = [];
  for (const [at, layer] of layers.entries()) {
    const found = await onSide("destination", destination.name, () =>
      store.findLayer(stack.slice(0, at + 1)),
    );
    if (found) meter.done(layer, true);
    else missing.push(at);
  }
  using link = linkSignal(copy.signal);
  let failure: { readonly error: unknown } | undefined;
  const fail = (error: unknown) => {
    failure ??= { error };
    link.abort(error);
  };
  const staged = stageAll(copy, layers, stack, missing, link.signal, fail);
  try {
    while (staged.length > 0) {
      const { at: first, layer } = staged[0]!;
      await layer;
      const end = staged.findIndex(({ at, isReady }, place) => !isReady || at !== first + place);
      const ready = staged.splice(0, end === -1 ? staged.length : end);
      await publishLayers(copy, ready, layers, stack, link.signal);
    }
  } catch (error) {
    fail(error);
    await Promise.all(
      staged.map(({ layer }) => layer.then(done => done[Symbol.asyncDispose]()).catch(() => {})),
    );
    copy.signal?.throwIfAborted();
    throw stagingError(copy, failure!.error);
  }
}

/** A layer that is being fetched and unpacked. */
interface Staging {
  /** Place in the manifest. */
  readonly at: number;
  readonly layer: Promise<StagedLayer>;
  isReady: boolean;
}

/** Those that are ready together are written into the records together, which costs as many waits for the disk as one. */
async function publishLayers(
  { destination, meter }: StorageCopy,
  ready: readonly Staging[],
  layers: readonly Descriptor[],
  stack: readonly DiffId[],
  signal: AbortSignal,
): Promise<void> {
  const staged = await Promise.all(ready.map(({ layer }) => layer));
  try {
    await onSide("destination", destination.name, () =>
      destination.store.commitLayers(staged, stack.slice(0, ready[0]!.at), { signal }),
    );
  } finally {
    await Promise.all(staged.map(layer => layer[Symbol.asyncDispose]()));
  }
  for (const { at } of ready) meter.done(layers[at]!, false);
}

/** Fetching and unpacking happen in one; the store's disk is told from the source by how the system puts it. */
function stagingError({ source, destination }: StorageCopy, error: unknown): OcidError {
  const isDisk = /\b(ENOSPC|EDQUOT|EROFS|EIO|EACCES|EPERM|EMFILE)\b|no space left/i.test(messageOf(error));
  return isDisk ? sideError("destination", destination.name, error) : sideError("source", source.name, error);
}

/**
 * Begins with the largest: it decides when the last one is done. The store's threads keep the rest waiting. Returned in
 * the order in which they stand on each other.
 */
function stageAll(
  { source, destination, meter }: StorageCopy,
  layers: readonly Descriptor[],
  stack: readonly DiffId[],
  missing: readonly number[],
  signal: AbortSignal,
  fail: (error: unknown) => void,
): Staging[] {
  const staged: Staging[] = [];
  const byDigest = new Map<Digest, Promise<unknown>>();
  for (const at of [...missing].sort((a, b) => layers[b]!.size - layers[a]!.size)) {
    const descriptor = layers[at]!;
    const stage = async (): Promise<StagedLayer> => {
      signal.throwIfAborted();
      meter.start(descriptor);
      return await stageLayer(
        source,
        destination.store,
        { at, descriptor, diffId: stack[at]! },
        meter,
        signal,
      );
    };
    // A layer that occurs twice is fetched twice, but not at the same time: both would keep their pieces in one place.
    const before = byDigest.get(descriptor.digest);
    const layer = before === undefined ? stage() : before.then(stage);
    const staging: Staging = { at, layer, isReady: false };
    layer.then(() => {
      staging.isReady = true;
    }, fail);
    byDigest.set(descriptor.digest, layer);
    staged.push(staging);
  }
  return staged.sort((a, b) => a.at - b.at);
}

async function stageLayer(
  source: ImageSource,
  store: ImageStorePort,
  {
    at,
    descriptor,
    diffId,
  }: { readonly at: number; readonly descriptor: Descriptor; readonly diffId: DiffId },
  meter: ProgressMeter,
  signal: AbortSignal,
): Promise<StagedLayer> {
  const { unpacked } = source;
  if (unpacked === undefined) {
    const blob = await onSide("source", source.name, () => source.blobSource(descriptor, { signal }));
    const onBytes = (bytes: number) => meter.bytes(descriptor, bytes);
    return await store.stageLayer({ descriptor, source: blob, diffId, signal, onBytes });
  }
  const size = unpacked.sizeOf(at) ?? (await sizeOf(unpacked.openTar(at, { signal })));
  const plain: Descriptor = { mediaType: mediaTypes.ociLayer, digest: diffId, size };
  return await store.stageLayer({
    descriptor: plain,
    source: {
      kind: "stream",
      open: (offset, more) =>
        skipTo(offset, readingFrom(source.name, unpacked.openTar(at, { signal: more ?? signal }))),
    },
    diffId,
    signal,
    onBytes: bytes => meter.bytes(descriptor, size === 0 ? 0 : Math.floor((bytes / size) * descriptor.size)),
  });
}

async function sizeOf(chunks: AsyncIterable<Uint8Array>): Promise<number> {
  let size = 0;
  for await (const chunk of chunks) size += chunk.byteLength;
  return size;
}

async function* skipTo(
  offset: number,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let left = offset;
  for await (const chunk of chunks) {
    if (left < chunk.byteLength) yield chunk.subarray(left);
    left = Math.max(0, left - chunk.byteLength);
  }
}
