import { OcidError } from "@ocid/base";
import {
  choosePlatform,
  type Descriptor,
  type Digest,
  digestHex,
  type ImageIndex,
  isImageDescriptor,
  type Platform,
  parseManifest,
  parseReference,
} from "@ocid/spec";
import { convertIndex } from "./convert-manifest.ts";
import { copyBlobs } from "./copy-blobs.ts";
import type { CopyContext } from "./copy-context.ts";
import { copyIntoStorage } from "./copy-into-storage.ts";
import { onSide } from "./copy-side.ts";
import type { BlobDestination, CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";
import { formatOf, type LayerCompression, type ManifestFormat } from "./layer-media-type.ts";
import type { ImagePolicy } from "./policy.ts";
import type { ImageRecord } from "./ports.ts";
import { type OnProgress, ProgressMeter } from "./progress.ts";
import { otherDigest } from "./registry-transport.ts";
import {
  getEntry,
  getTop,
  maxIndexDepth,
  type ResolvedImage,
  resolveImage,
  tooDeep,
} from "./resolve-image.ts";
import { rememberSignatures } from "./signatures/remember-signatures.ts";
import { Spool } from "./spool.ts";
import type { StorageDestination } from "./storage-destination.ts";

export interface CopyOptions extends CallOptions {
  /** Which image of an index. Default: the machine's own platform. */
  readonly platform?: Platform | undefined;
  /** An index with the images of these platforms only. Not into storage, which keeps one platform. */
  readonly platforms?: readonly Platform[] | undefined;
  /** Every image of an index, and the index itself. Not into storage. */
  readonly all?: boolean | undefined;
  /** Format of the manifests at the destination. Default: as they are, so that digests stay. */
  readonly format?: ManifestFormat | undefined;
  /** How layers are compressed at the destination. Default: as they are. */
  readonly layerCompression?: LayerCompression | undefined;
  /** Fails with FAILED_PRECONDITION instead of changing a manifest. */
  readonly preserveDigests?: boolean | undefined;
  /** What must be true of the image; checked before anything of it is used. */
  readonly policy?: ImagePolicy | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** Where layers are kept that have to be compressed anew. Default: TMPDIR, or /var/tmp. */
  readonly temporaryDirectory?: string | undefined;
}

export interface CopyResult {
  /** Of what the destination's reference points at now. */
  readonly digest: Digest;
  /** What it was at the source; another one only where the manifest had to change. */
  readonly sourceDigest: Digest;
  /** Of the index through which the image was found, if any. */
  readonly indexDigest: Digest | undefined;
  /** Why manifests had to change, if they had to. */
  readonly changes: readonly string[];
  /** In storage. */
  readonly image: ImageRecord | undefined;
}

/**
 * Copies an image, or with `all` or `platforms` an index with its images. Blobs that the destination has are not moved
 * again; bytes are verified on the way; the destination's name changes last. Manifests are copied as they are, so
 * digests stay, but where a conversion is asked for or the destination cannot hold them. Errors say in their message
 * and in `details.side` whether the source or the destination failed.
 */
export async function copyImage(
  source: ImageSource,
  destination: BlobDestination | StorageDestination,
  options: CopyOptions = {},
): Promise<CopyResult> {
  options.signal?.throwIfAborted();
  if (destination.kind === "storage") return await copyToStorage(source, destination, options);
  await using spool = new Spool(options.temporaryDirectory);
  const context: CopyContext = {
    // An index's signatures count for each of its images.
    source: options.policy ? rememberSignatures(source) : source,
    destination,
    meter: new ProgressMeter(options.onProgress),
    spool,
    format: chooseFormat(destination, options),
    layerCompression: options.layerCompression,
    preserveDigests: options.preserveDigests ?? false,
    changes: new Set(),
    signal: options.signal,
  };
  const result =
    options.all || options.platforms !== undefined
      ? await copyTop(context, options)
      : await copyOnePlatform(context, options);
  await onSide("destination", destination.name, async () => destination.commit?.(options));
  return { ...result, changes: [...context.changes] };
}

/** What is asked for, or what readers expect; without need nothing is converted that would lose its digest. */
function chooseFormat(destination: BlobDestination, options: CopyOptions): ManifestFormat | undefined {
  if (destination.holdsOtherFormats === false) {
    if (options.format !== undefined && options.format !== destination.format)
      throw new OcidError(
        "INVALID_ARGUMENT",
        `${destination.name} cannot hold manifests in ${options.format} format`,
      );
    return destination.format;
  }
  return options.format ?? (options.preserveDigests ? undefined : destination.format);
}

async function copyToStorage(
  source: ImageSource,
  destination: StorageDestination,
  options: CopyOptions,
): Promise<CopyResult> {
  if (options.all || options.platforms !== undefined)
    throw new OcidError("INVALID_ARGUMENT", "local storage keeps one platform of an image; ask for one only");
  if (options.format !== undefined || options.layerCompression !== undefined)
    throw new OcidError(
      "INVALID_ARGUMENT",
      "local storage keeps images as they are; they are converted on the way out",
    );
  const image = await resolveImage(source, options);
  const there = await onSide("destination", destination.name, () =>
    destination.store.findImage(digestHex(image.parsed.config.digest)),
  );
  // While the policy and the config are still to be read.
  if (!there) destination.store.prepareForLayers?.();
  const remembering = rememberSignatures(source);
  await admit(remembering, image, options);
  refuseOtherDigest(destination, image);
  const record = await copyIntoStorage({
    source: remembering,
    destination,
    image,
    meter: new ProgressMeter(options.onProgress),
    signal: options.signal,
  });
  const { digest } = image.manifest.descriptor;
  return {
    digest,
    sourceDigest: digest,
    indexDigest: image.index?.descriptor.digest,
    changes: [],
    image: record,
  };
}

/** A name with a digest is kept for that content only, or it would stand for what it does not say. */
function refuseOtherDigest(destination: StorageDestination, { manifest, index }: ResolvedImage): void {
  const digests = [manifest.descriptor.digest, index?.descriptor.digest];
  for (const name of destination.names) {
    const { digest } = parseReference(name);
    if (digest !== undefined && !digests.includes(digest))
      throw otherDigest(destination.name, manifest.descriptor.digest);
  }
}

type CopyOutcome = Omit<CopyResult, "changes">;

async function copyOnePlatform(context: CopyContext, options: CopyOptions): Promise<CopyOutcome> {
  const image = await resolveImage(context.source, options);
  await admit(context.source, image, options);
  const manifest = await copyBlobs(image.manifest, context);
  await putManifest(manifest, true, context);
  return {
    digest: manifest.descriptor.digest,
    sourceDigest: image.manifest.descriptor.digest,
    indexDigest: image.index?.descriptor.digest,
    image: undefined,
  };
}

async function copyTop(context: CopyContext, options: CopyOptions): Promise<CopyOutcome> {
  const top = await getTop(context.source, options);
  const copied = await copyTree(top, context, options, []);
  await putManifest(copied, true, context);
  return {
    digest: copied.descriptor.digest,
    sourceDigest: top.descriptor.digest,
    indexDigest: undefined,
    image: undefined,
  };
}

/** Copies what a manifest or index needs, and returns it as it has to be at the destination. */
async function copyTree(
  top: ManifestBytes,
  context: CopyContext,
  options: CopyOptions,
  above: readonly ManifestBytes[],
): Promise<ManifestBytes> {
  const { source, destination } = context;
  const parsed = parseManifest(top.bytes, top.descriptor.mediaType);
  if (parsed.kind === "image") {
    await options.policy?.admit(source, [top, ...above], options);
    return await copyBlobs(top, context);
  }
  if (above.length >= maxIndexDepth) throw tooDeep(source);
  if (destination.holdsIndexes === false)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${destination.name} holds one platform of an image; ask for one only`,
    );
  const format = context.format ?? formatOf(top.descriptor.mediaType);
  const entries = chooseEntries(parsed.index, options.platforms, format);
  const copied: Descriptor[] = [];
  for (const entry of entries) {
    const child = await copyTree(await getEntry(source, entry, options), context, options, [top, ...above]);
    await putManifest(child, false, context);
    copied.push({ ...entry, ...child.descriptor });
  }
  const same =
    format === formatOf(top.descriptor.mediaType) &&
    copied.length === parsed.index.manifests.length &&
    copied.every((entry, at) => entry.digest === parsed.index.manifests[at]!.digest);
  if (same) return top;
  if (context.preserveDigests)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `copying ${source.name} to ${destination.name} changes its index, so digests cannot be preserved`,
    );
  if (copied.length !== parsed.index.manifests.length)
    context.changes.add("the index names the platforms asked for only");
  return convertIndex(top, parsed.index, copied, format);
}

function chooseEntries(
  index: ImageIndex,
  platforms: readonly Platform[] | undefined,
  format: ManifestFormat,
): readonly Descriptor[] {
  if (platforms !== undefined)
    return [...new Set(platforms.map(platform => choosePlatform(index, platform)))];
  // Docker's lists have no place for what builders put beside the images.
  return format === "docker" ? index.manifests.filter(isImageDescriptor) : index.manifests;
}

async function admit(source: ImageSource, image: ResolvedImage, options: CopyOptions): Promise<void> {
  await options.policy?.admit(
    source,
    image.index ? [image.manifest, image.index] : [image.manifest],
    options,
  );
}

async function putManifest(manifest: ManifestBytes, named: boolean, context: CopyContext): Promise<void> {
  const { destination, signal } = context;
  signal?.throwIfAborted();
  await onSide("destination", destination.name, () => destination.putManifest(manifest, named, { signal }));
}
