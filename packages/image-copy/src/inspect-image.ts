import {
  choosePlatform,
  currentPlatform,
  type Descriptor,
  type Digest,
  type ImageConfig,
  type ImageManifest,
  isImageDescriptor,
  type Platform,
  parseImageConfig,
  parseManifest,
} from "@ocid/spec";
import type { CallOptions, ImageSource } from "./image-source.ts";
import { collect } from "./storage-transport.ts";

/** What can be told of an image without fetching a layer. */
export interface ImageInspection {
  readonly name: string;
  /** Of what the name points at: the index where there is one. */
  readonly digest: Digest;
  readonly mediaType: string;
  /** What an index offers. */
  readonly platforms: readonly { readonly platform: Platform; readonly digest: Digest }[];
  /** Digest and manifest of the image that was chosen. */
  readonly manifestDigest: Digest;
  readonly manifest: ImageManifest;
  readonly config: ImageConfig;
  readonly layers: readonly Descriptor[];
  /** Raw bytes of what the name points at. */
  readonly raw: Uint8Array;
  readonly rawConfig: Uint8Array;
}

export async function inspectImage(
  source: ImageSource,
  options: CallOptions & { readonly platform?: Platform | undefined } = {},
): Promise<ImageInspection> {
  const top = await source.getManifest(undefined, options);
  const parsed = parseManifest(top.bytes, top.descriptor.mediaType);
  const chosen =
    parsed.kind === "index"
      ? choosePlatform(parsed.index, options.platform ?? currentPlatform())
      : top.descriptor;
  const bytes =
    parsed.kind === "index" ? (await source.getManifest(chosen.digest, options)).bytes : top.bytes;
  const image = parsed.kind === "index" ? parseManifest(bytes, chosen.mediaType) : parsed;
  if (image.kind !== "image")
    return await inspectImage(
      { ...source, getManifest: (digest, more) => source.getManifest(digest ?? chosen.digest, more) },
      options,
    );
  const rawConfig = await collect(source, image.manifest.config, options);
  return {
    name: source.name,
    digest: top.descriptor.digest,
    mediaType: parsed.mediaType,
    platforms:
      parsed.kind === "index"
        ? parsed.index.manifests
            .filter(isImageDescriptor)
            .flatMap(({ platform, digest }) => (platform ? [{ platform, digest }] : []))
        : [],
    manifestDigest: chosen.digest,
    manifest: image.manifest,
    config: parseImageConfig(rawConfig),
    layers: image.manifest.layers,
    raw: top.bytes,
    rawConfig,
  };
}
