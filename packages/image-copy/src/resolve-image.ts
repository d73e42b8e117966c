import { OcidError } from "@ocid/base";
import {
  choosePlatform,
  currentPlatform,
  type Descriptor,
  type ImageIndex,
  type ImageManifest,
  type Platform,
  parseManifest,
} from "@ocid/spec";
import { onSide } from "./copy-side.ts";
import type { CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";

/** Indexes may hold indexes; real ones do so once at most. */
export const maxIndexDepth = 4;

export interface ResolvedImage {
  /** What the source's reference points at. */
  readonly top: ManifestBytes;
  /** The top where it is an index. */
  readonly index: (ManifestBytes & { readonly parsed: ImageIndex }) | undefined;
  /** The image itself. */
  readonly manifest: ManifestBytes;
  readonly parsed: ImageManifest;
}

/** Follows a source's reference to one image: the platform's where it is an index. */
export async function resolveImage(
  source: ImageSource,
  options: CallOptions & { readonly platform?: Platform | undefined } = {},
): Promise<ResolvedImage> {
  const top = await getTop(source, options);
  let manifest = top;
  for (let depth = 0; ; depth++) {
    const parsed = parseManifest(manifest.bytes, manifest.descriptor.mediaType);
    if (parsed.kind === "image")
      return {
        top,
        index: indexOf(top),
        manifest: withMediaType(manifest, parsed.mediaType),
        parsed: parsed.manifest,
      };
    if (depth >= maxIndexDepth) throw tooDeep(source);
    const chosen = choosePlatform(parsed.index, options.platform ?? currentPlatform());
    manifest = await getEntry(source, chosen, options);
  }
}

export async function getTop(source: ImageSource, options: CallOptions): Promise<ManifestBytes> {
  const top = await onSide("source", source.name, () => source.getManifest(undefined, options));
  return withMediaType(top, parseManifest(top.bytes, top.descriptor.mediaType).mediaType);
}

/** The manifest or index that an entry of an index points at, which must be what the entry says. */
export async function getEntry(
  source: ImageSource,
  entry: Descriptor,
  options: CallOptions,
): Promise<ManifestBytes> {
  return await onSide("source", source.name, async () => {
    const manifest = await source.getManifest(entry.digest, options);
    if (manifest.bytes.byteLength !== entry.size)
      throw new OcidError(
        "DATA_LOSS",
        `manifest ${entry.digest} has ${manifest.bytes.byteLength} bytes, the index says ${entry.size}`,
        { reason: "SizeMismatch" },
      );
    return withMediaType(manifest, parseManifest(manifest.bytes, entry.mediaType).mediaType);
  });
}

export function tooDeep(source: ImageSource): OcidError {
  return new OcidError(
    "INVALID_ARGUMENT",
    `${source.name} has indexes within indexes, more than ${maxIndexDepth} deep`,
  );
}

function indexOf(top: ManifestBytes): ResolvedImage["index"] {
  const parsed = parseManifest(top.bytes, top.descriptor.mediaType);
  return parsed.kind === "index" ? { ...top, parsed: parsed.index } : undefined;
}

function withMediaType({ bytes, descriptor }: ManifestBytes, mediaType: string): ManifestBytes {
  const { digest, size } = descriptor;
  return { bytes, descriptor: { mediaType, digest, size } };
}
