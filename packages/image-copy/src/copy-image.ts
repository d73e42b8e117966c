import { OcidError, Semaphore, wrapError } from "@ocid/base";
import {
  choosePlatform,
  currentPlatform,
  type Descriptor,
  type Digest,
  type ImageIndex,
  type Platform,
  parseManifest,
} from "@ocid/spec";
import type { BlobDestination, CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";
import type { ImageRecord } from "./ports.ts";
import { type OnProgress, ProgressMeter } from "./progress.ts";
import { copyIntoStorage, type StorageDestination } from "./storage-transport.ts";

export interface CopyOptions extends CallOptions {
  /** Which image of an index. Default: the machine's own platform. */
  readonly platform?: Platform | undefined;
  /** Every image of an index, and the index itself; not into storage, which keeps one platform. */
  readonly all?: boolean | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface CopyResult {
  /** Of what the destination's reference points at now. */
  readonly digest: Digest;
  /** Of the index through which the image was found, if any. */
  readonly indexDigest: Digest | undefined;
  /** In storage. */
  readonly image: ImageRecord | undefined;
}

const blobsAtOnce = 4;
const maxIndexDepth = 4;

/**
 * Copies an image, or with `all` an index with its images. Blobs that the destination has are not moved again; bytes
 * are verified on the way; the destination's name changes last. Manifests are copied as they are, so digests stay.
 */
export async function copyImage(
  source: ImageSource,
  destination: BlobDestination | StorageDestination,
  options: CopyOptions = {},
): Promise<CopyResult> {
  const top = await reading(source, () => source.getManifest(undefined, options));
  const meter = new ProgressMeter(options.onProgress);
  const parsed = parseManifest(top.bytes, top.descriptor.mediaType);
  if (parsed.kind === "index" && options.all) {
    if (destination.kind === "storage")
      throw new OcidError(
        "INVALID_ARGUMENT",
        "local storage keeps one platform of an image; leave out --all",
      );
    await copyIndex(source, destination, parsed.index, meter, options, 1);
    await destination.putManifest(top, true, options);
    return { digest: top.descriptor.digest, indexDigest: undefined, image: undefined };
  }
  const manifest = parsed.kind === "index" ? await chooseImage(source, parsed.index, options, 1) : top;
  const index = parsed.kind === "index" ? top : undefined;
  const result = { digest: manifest.descriptor.digest, indexDigest: index?.descriptor.digest };
  if (destination.kind === "storage")
    return {
      ...result,
      image: await copyIntoStorage(source, destination, { manifest, index }, meter, options),
    };
  await copyBlobs(source, destination, manifest, meter, options);
  await destination.putManifest(manifest, true, options);
  return { ...result, image: undefined };
}

async function chooseImage(
  source: ImageSource,
  index: ImageIndex,
  options: CopyOptions,
  depth: number,
): Promise<ManifestBytes> {
  if (depth > maxIndexDepth)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${source.name} has indexes within indexes, more than ${maxIndexDepth} deep`,
    );
  const chosen = choosePlatform(index, options.platform ?? currentPlatform());
  const manifest = await reading(source, () => source.getManifest(chosen.digest, options));
  checkSize(manifest, chosen, source);
  const parsed = parseManifest(manifest.bytes, chosen.mediaType);
  return parsed.kind === "index"
    ? chooseImage(source, parsed.index, options, depth + 1)
    : { bytes: manifest.bytes, descriptor: { ...manifest.descriptor, mediaType: parsed.mediaType } };
}

async function copyIndex(
  source: ImageSource,
  destination: BlobDestination,
  index: ImageIndex,
  meter: ProgressMeter,
  options: CopyOptions,
  depth: number,
): Promise<void> {
  if (depth > maxIndexDepth)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${source.name} has indexes within indexes, more than ${maxIndexDepth} deep`,
    );
  for (const entry of index.manifests) {
    const manifest = await reading(source, () => source.getManifest(entry.digest, options));
    checkSize(manifest, entry, source);
    const parsed = parseManifest(manifest.bytes, entry.mediaType);
    if (parsed.kind === "index")
      await copyIndex(source, destination, parsed.index, meter, options, depth + 1);
    else await copyBlobs(source, destination, manifest, meter, options);
    await destination.putManifest(
      { bytes: manifest.bytes, descriptor: { ...manifest.descriptor, mediaType: parsed.mediaType } },
      false,
      options,
    );
  }
}

async function copyBlobs(
  source: ImageSource,
  destination: BlobDestination,
  manifest: ManifestBytes,
  meter: ProgressMeter,
  options: CopyOptions,
): Promise<void> {
  const parsed = parseManifest(manifest.bytes, manifest.descriptor.mediaType);
  if (parsed.kind !== "image")
    throw new OcidError("INVALID_ARGUMENT", `${source.name} is an index where an image was expected`);
  const blobs = [
    ...new Map([parsed.manifest.config, ...parsed.manifest.layers].map(blob => [blob.digest, blob])).values(),
  ];
  meter.expect(blobs);
  const places = new Semaphore(blobsAtOnce);
  const controller = new AbortController();
  const abort = () => controller.abort(options.signal?.reason);
  options.signal?.addEventListener("abort", abort, { once: true });
  const copyOne = async (blob: Descriptor) => {
    using _place = await places.acquire(controller.signal);
    if (await destination.hasBlob(blob, { signal: controller.signal })) return meter.done(blob, true);
    meter.start(blob);
    const open = () => counted(source.openBlob(blob, { signal: controller.signal }), blob, meter);
    const sent = await destination.putBlob(blob, open, {
      signal: controller.signal,
      mountFrom: source.mountFrom,
    });
    meter.done(blob, !sent);
  };
  try {
    const largestFirst = [...blobs].sort((a, b) => b.size - a.size);
    const results = await Promise.allSettled(
      largestFirst.map(blob =>
        copyOne(blob).catch(error => {
          controller.abort(error);
          throw error;
        }),
      ),
    );
    if (results.some(result => result.status === "rejected"))
      throw wrapError(
        `copy ${source.name} to ${destination.name}`,
        options.signal?.aborted ? options.signal.reason : controller.signal.reason,
      );
  } finally {
    options.signal?.removeEventListener("abort", abort);
  }
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  blob: Descriptor,
  meter: ProgressMeter,
): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.byteLength;
    meter.bytes(blob, bytes);
    yield chunk;
  }
}

async function reading<T>(source: ImageSource, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw wrapError(source.name, error);
  }
}

function checkSize(manifest: ManifestBytes, entry: Descriptor, source: ImageSource): void {
  if (manifest.bytes.byteLength !== entry.size)
    throw new OcidError(
      "DATA_LOSS",
      `${source.name}: manifest ${entry.digest} has ${manifest.bytes.byteLength} bytes, the index says ${entry.size}`,
    );
}
