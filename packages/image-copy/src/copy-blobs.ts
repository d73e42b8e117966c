import { OcidError } from "@ocid/base";
import {
  type Descriptor,
  type DiffId,
  type Digest,
  type ImageManifest,
  isForeignLayer,
  parseImageConfig,
  parseManifest,
} from "@ocid/spec";
import { convertManifest, isImageConfig } from "./convert-manifest.ts";
import type { CopyContext } from "./copy-context.ts";
import { copyBlob, type LayerToCopy, packLayer, recompressLayer, wantedCompression } from "./copy-layer.ts";
import type { ManifestBytes } from "./image-source.ts";
import { formatOf } from "./layer-media-type.ts";
import { readConfig } from "./read-config.ts";
import { runParallel } from "./run-parallel.ts";

const blobsAtOnce = 4;

/** Copies what a manifest consists of, the largest first, and returns the manifest as it has to be at the destination. */
export async function copyBlobs(manifest: ManifestBytes, context: CopyContext): Promise<ManifestBytes> {
  const { source, meter } = context;
  const parsed = parseManifest(manifest.bytes, manifest.descriptor.mediaType);
  if (parsed.kind !== "image")
    throw new OcidError("INVALID_ARGUMENT", `${source.name} is an index where an image was expected`);
  const { config, layers } = parsed.manifest;
  refuseForeignLayers(layers, source.name);
  const isImage = isImageConfig(config.mediaType);
  const format = (isImage ? context.format : undefined) ?? formatOf(manifest.descriptor.mediaType);
  const wanted = layers.map(layer => (isImage ? wantedCompression(layer, context) : undefined));
  const changes =
    format !== formatOf(manifest.descriptor.mediaType) ||
    wanted.some(compression => compression !== undefined);
  if (changes && context.preserveDigests)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `copying ${source.name} to ${context.destination.name} changes its manifest, so digests cannot be preserved`,
    );
  const stack = await readStack(parsed.manifest, wanted, context);
  meter.expect([config, ...layers]);

  const copied = new Map<Digest, Descriptor>();
  const pieces = uniqueBlobs(config, layers).map(({ descriptor, at }) => ({
    size: descriptor.size,
    run: async (signal: AbortSignal) => {
      const layer: LayerToCopy = { descriptor, at, diffId: stack[at] };
      copied.set(descriptor.digest, await copyOne(layer, wanted[at], context, signal));
    },
  }));
  const largestFirst = pieces.sort((a, b) => b.size - a.size).map(piece => piece.run);
  await runParallel(largestFirst, blobsAtOnce, context.signal);

  const results = layers.map(layer => copied.get(layer.digest)!);
  if (format !== formatOf(manifest.descriptor.mediaType))
    context.changes.add(`the manifest is in ${format} format, which ${context.destination.name} is to hold`);
  const changed = changes || results.some((result, at) => result.digest !== layers[at]!.digest);
  return changed ? convertManifest(manifest, parsed.manifest, results, format) : manifest;
}

/** Content that lies at URLs in a manifest is nobody's to vouch for: it is refused, never fetched. */
export function refuseForeignLayers(layers: readonly Descriptor[], name: string): void {
  const foreign = layers.find(layer => isForeignLayer(layer.mediaType));
  if (foreign)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `layer ${foreign.digest} of ${name} is kept outside of the registry (${foreign.mediaType}); such layers are not followed`,
      { reason: "ForeignLayer" },
    );
}

async function copyOne(
  layer: LayerToCopy,
  wanted: ReturnType<typeof wantedCompression>,
  context: CopyContext,
  signal: AbortSignal,
): Promise<Descriptor> {
  if (layer.at >= 0 && context.source.unpacked) return await packLayer(layer, wanted, context, signal);
  if (wanted !== undefined) return await recompressLayer(layer, wanted, context, signal);
  return await copyBlob(layer.descriptor, context, signal);
}

/** DiffIDs, where layers have to be read as archives. */
async function readStack(
  manifest: ImageManifest,
  wanted: readonly unknown[],
  context: CopyContext,
): Promise<readonly DiffId[]> {
  const { source } = context;
  const readsLayers = source.unpacked !== undefined || wanted.some(compression => compression !== undefined);
  if (!readsLayers || !isImageConfig(manifest.config.mediaType)) return [];
  const config = parseImageConfig(await readConfig(source, manifest.config, context));
  const stack = config.rootfs.diff_ids;
  if (stack.length !== manifest.layers.length)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${source.name} has ${manifest.layers.length} layers, but its config names ${stack.length}`,
    );
  return stack;
}

/** The config, at place -1, and each layer where it occurs first. */
function uniqueBlobs(
  config: Descriptor,
  layers: readonly Descriptor[],
): readonly { readonly descriptor: Descriptor; readonly at: number }[] {
  const blobs = new Map([[config.digest, { descriptor: config, at: -1 }]]);
  for (const [at, descriptor] of layers.entries())
    if (!blobs.has(descriptor.digest)) blobs.set(descriptor.digest, { descriptor, at });
  return [...blobs.values()];
}
