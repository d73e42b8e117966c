import { linkSignal, messageOf, type OcidError } from "@ocid/base";
import { type Descriptor, type DiffId, type Digest, type ImageManifest, mediaTypes } from "@ocid/spec";
import { onSide, readingFrom, sideError } from "./copy-side.ts";
import type { CallOptions, ImageSource } from "./image-source.ts";
import type { ImageStorePort, StagedLayer } from "./ports.ts";
import type { ProgressMeter } from "./progress.ts";
import type { ResolvedImage } from "./resolve-image.ts";
import type { StorageDestination } from "./storage-destination.ts";

/** An image on its way into local storage. */
export interface StorageCopy extends CallOptions {
  readonly source: ImageSource;
  readonly destination: StorageDestination;
  readonly image: ResolvedImage;
  readonly meter: ProgressMeter;
}

/**
 * Fetches and unpacks the layers that the store does not have, several at once, and publishes them from the base up as
 * they become ready.
 */
export async function unpackLayers(
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
