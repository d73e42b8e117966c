import {
  type Descriptor,
  type Digest,
  type ImageConfig,
  type ImageManifest,
  isImageDescriptor,
  type Platform,
  parseImageConfig,
} from "@ocid/spec";
import { isImageConfig } from "./convert-manifest.ts";
import type { CallOptions, ImageSource } from "./image-source.ts";
import { readConfig } from "./read-config.ts";
import { resolveImage } from "./resolve-image.ts";

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
  /** Of an artifact that is no image: of no platform, without layers or labels. */
  readonly config: ImageConfig;
  readonly labels: Readonly<Record<string, string>>;
  readonly layers: readonly Descriptor[];
  /** What a builder has put into the index about this image: attestations, SBOMs among them. */
  readonly attestations: readonly Descriptor[];
  /** Raw bytes of what the name points at. */
  readonly raw: Uint8Array;
  /** Raw bytes of the image's own manifest. */
  readonly rawManifest: Uint8Array;
  readonly rawConfig: Uint8Array;
}

/** Reads manifest and config, for the machine's platform where none is asked for. */
export async function inspectImage(
  source: ImageSource,
  options: CallOptions & { readonly platform?: Platform | undefined } = {},
): Promise<ImageInspection> {
  const { top, index, manifest, parsed } = await resolveImage(source, options);
  const rawConfig = await readConfig(source, parsed.config, options);
  const config = isImageConfig(parsed.config.mediaType) ? parseImageConfig(rawConfig) : artifactConfig;
  return {
    name: source.name,
    digest: top.descriptor.digest,
    mediaType: top.descriptor.mediaType,
    platforms: (index?.parsed.manifests ?? [])
      .filter(isImageDescriptor)
      .flatMap(({ platform, digest }) => (platform ? [{ platform, digest }] : [])),
    manifestDigest: manifest.descriptor.digest,
    manifest: parsed,
    config,
    labels: config.config?.Labels ?? {},
    layers: parsed.layers,
    attestations: (index?.parsed.manifests ?? []).filter(
      ({ annotations }) =>
        annotations?.["vnd.docker.reference.type"] === "attestation-manifest" &&
        annotations["vnd.docker.reference.digest"] === manifest.descriptor.digest,
    ),
    raw: top.bytes,
    rawManifest: manifest.bytes,
    rawConfig,
  };
}

const artifactConfig: ImageConfig = { os: "", architecture: "", rootfs: { type: "layers", diff_ids: [] } };
