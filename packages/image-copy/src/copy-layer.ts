import { isOcidError, OcidError } from "@ocid/base";
import { compress, decompress } from "@ocid/layer";
import type { Descriptor, DiffId } from "@ocid/spec";
import { checkDiffId } from "./check-diff-id.ts";
import type { CopyContext } from "./copy-context.ts";
import { onSide, readingFrom, sideError } from "./copy-side.ts";
import { formatOf, type LayerCompression, layerCompression, layerMediaType } from "./layer-media-type.ts";
import { readBlob } from "./read-blob.ts";
import { readFileFrom } from "./spool.ts";

export interface LayerToCopy {
  readonly descriptor: Descriptor;
  /** Place in the manifest. */
  readonly at: number;
  /** What the config promises of the uncompressed tar. */
  readonly diffId: DiffId | undefined;
}

/** How a layer is to be compressed at the destination; undefined leaves it as it is. */
export function wantedCompression(
  descriptor: Descriptor,
  context: CopyContext,
): LayerCompression | undefined {
  const now = layerCompression(descriptor.mediaType);
  if (now === undefined) return undefined;
  const { destination, source, format } = context;
  const wanted =
    destination.layers === "plain"
      ? "none"
      : (context.layerCompression ??
        // What is asked for in Docker's format is for engines that know no zstd there.
        (format === "docker" && now === "zstd"
          ? "gzip"
          : source.madeUp && now === "none" && destination.layers === "compressed"
            ? "gzip"
            : undefined));
  return wanted === now ? undefined : wanted;
}

/** Copies a layer as it is; returns its descriptor. */
export async function copyBlob(
  descriptor: Descriptor,
  context: CopyContext,
  signal: AbortSignal,
): Promise<Descriptor> {
  const { source, destination, meter } = context;
  if (await onSide("destination", destination.name, () => destination.hasBlob(descriptor, { signal }))) {
    meter.done(descriptor, true);
    return descriptor;
  }
  meter.start(descriptor);
  const open = (offset = 0) =>
    readingFrom(
      source.name,
      meter.count(descriptor, offset, readBlob(source, descriptor, { offset, signal })),
    );
  try {
    const { mountFrom } = source;
    const sent = await destination.putBlob(descriptor, open, { signal, mountFrom });
    meter.done(descriptor, !sent);
    return descriptor;
  } catch (error) {
    // Wrong bytes are noticed where they arrive, but come from elsewhere.
    if (isWrongContent(error)) throw sideError("source", source.name, error);
    throw sideError("destination", destination.name, error);
  }
}

function isWrongContent(error: unknown): boolean {
  return isOcidError(error) && (error.reason === "DigestMismatch" || error.reason === "SizeMismatch");
}

/** Copies a layer compressed in another way; returns the descriptor that it has then. */
export async function recompressLayer(
  layer: LayerToCopy,
  wanted: LayerCompression,
  context: CopyContext,
  signal: AbortSignal,
): Promise<Descriptor> {
  const { source, meter } = context;
  const { descriptor } = layer;
  meter.start(descriptor);
  const blob = meter.count(descriptor, 0, source.openBlob(descriptor, { signal }));
  const tar = decompress(readingFrom(source.name, blob), signal);
  return await putTar(layer, tar, wanted, context, signal);
}

/** Copies a layer that the source keeps unpacked. What is compressed as the manifest has it by luck, keeps its digest. */
export async function packLayer(
  layer: LayerToCopy,
  wanted: LayerCompression | undefined,
  context: CopyContext,
  signal: AbortSignal,
): Promise<Descriptor> {
  const { source, destination, meter } = context;
  const { descriptor, at } = layer;
  const keep = wanted === undefined;
  if (
    keep &&
    (await onSide("destination", destination.name, () => destination.hasBlob(descriptor, { signal })))
  ) {
    meter.done(descriptor, true);
    return descriptor;
  }
  meter.start(descriptor);
  const unpacked = source.unpacked!;
  const tarSize = unpacked.sizeOf(at);
  const tar = readingFrom(source.name, unpacked.openTar(at, { signal }));
  const counted = scaled(tar, tarSize, done => meter.bytes(descriptor, Math.floor(done * descriptor.size)));
  return await putTar(
    layer,
    counted,
    wanted ?? layerCompression(descriptor.mediaType) ?? "gzip",
    context,
    signal,
  );
}

async function putTar(
  { descriptor, diffId }: LayerToCopy,
  tar: AsyncIterable<Uint8Array>,
  wanted: LayerCompression,
  context: CopyContext,
  signal: AbortSignal,
): Promise<Descriptor> {
  const { source, destination, meter, spool, preserveDigests } = context;
  const checked = readingFrom(source.name, diffId === undefined ? tar : checkDiffId(tar, diffId));
  const spooled = await onSide("destination", "temporary directory", () =>
    spool.write(wanted === "none" ? checked : compress(checked, wanted, signal), { signal }),
  );
  try {
    const same = spooled.digest === descriptor.digest;
    if (!same && preserveDigests)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `layer ${descriptor.digest} of ${source.name} cannot be compressed as it was, so digests cannot be preserved`,
      );
    if (!same)
      context.changes.add(
        source.unpacked === undefined
          ? `layers are ${wanted === "none" ? "no longer compressed" : `compressed with ${wanted}`}`
          : `layers of ${source.name} were kept unpacked and have been compressed again`,
      );
    const result = same
      ? descriptor
      : {
          mediaType: layerMediaType(formatOf(descriptor.mediaType), wanted),
          digest: spooled.digest,
          size: spooled.size,
          ...keptAnnotations(descriptor),
        };
    const sent = await onSide("destination", destination.name, async () => {
      if (await destination.hasBlob(result, { signal })) return false;
      return await destination.putBlob(result, offset => readFileFrom(spooled.path, offset, signal), {
        signal,
      });
    });
    meter.done(descriptor, !sent);
    return result;
  } finally {
    await spool.remove(spooled);
  }
}

/** Those that describe the compressed stream are wrong for another one (zstd:chunked, eStargz). */
function keptAnnotations({ annotations }: Descriptor): Pick<Descriptor, "annotations"> {
  const kept = Object.entries(annotations ?? {}).filter(
    ([key]) =>
      !key.startsWith("io.github.containers.zstd-chunked.") &&
      !key.startsWith("containerd.io/snapshot/stargz/"),
  );
  return kept.length === 0 ? {} : { annotations: Object.fromEntries(kept) };
}

async function* scaled(
  chunks: AsyncIterable<Uint8Array>,
  total: number | undefined,
  tell: (done: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.byteLength;
    if (total) tell(bytes / total);
    yield chunk;
  }
}
