import { OcidError } from "@ocid/base";
import {
  type Descriptor,
  digestBytes,
  formatReference,
  type ImageManifest,
  mediaTypes,
  parseManifest,
  type Reference,
} from "@ocid/spec";
import type { CallOptions } from "./call-options.ts";
import { bytesSource, type OpenFrom } from "./push-blob.ts";
import type { RegistryClient } from "./registry-client.ts";

/** A blob of an artifact, with where its bytes come from. */
export interface ArtifactBlob {
  readonly descriptor: Descriptor;
  readonly open: OpenFrom;
}

export interface ArtifactToPush {
  /** What it is: a media type of the artifact's makers, such as `application/vnd.example.sbom.v1`. */
  readonly artifactType: string;
  readonly blobs: readonly ArtifactBlob[];
  /** What it is about: it is then found among the referrers of that manifest. */
  readonly subject?: Descriptor | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

export interface Artifact {
  readonly descriptor: Descriptor;
  readonly artifactType: string;
  readonly manifest: ImageManifest;
  /** Read them with `openBlob`. */
  readonly blobs: readonly Descriptor[];
}

const empty = Buffer.from("{}");
const emptyDescriptor: Descriptor = {
  mediaType: mediaTypes.ociEmpty,
  digest: digestBytes(empty),
  size: empty.byteLength,
};

/**
 * Pushes an artifact of any type (image-spec, "Guidelines for Artifact Usage"): under the reference's tag, or, without
 * one, to be found by its digest and among its subject's referrers.
 */
export async function pushArtifact(
  client: RegistryClient,
  reference: Reference,
  artifact: ArtifactToPush,
  options: CallOptions = {},
): Promise<Descriptor> {
  const { artifactType, subject, annotations } = artifact;
  if (!/^[\w.+-]+\/[\w.+-]+$/.test(artifactType))
    throw new OcidError("INVALID_ARGUMENT", `not an artifact type: ${JSON.stringify(artifactType)}`);
  const config = { descriptor: emptyDescriptor, open: bytesSource(empty) };
  for (const { descriptor, open } of [config, ...artifact.blobs]) {
    if (!(await client.hasBlob(reference, descriptor.digest, options)))
      await client.pushBlob(reference, descriptor, open, options);
  }
  const blobs = artifact.blobs.map(({ descriptor }) => descriptor);
  const manifest: ImageManifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    artifactType,
    config: emptyDescriptor,
    layers: blobs.length === 0 ? [emptyDescriptor] : blobs,
    ...(subject === undefined
      ? {}
      : { subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size } }),
    ...(annotations === undefined ? {} : { annotations }),
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  return await client.pushManifest(reference, bytes, mediaTypes.ociManifest, options);
}

/** Fetches what an artifact is; its blobs are read one by one. INVALID_ARGUMENT for an index. */
export async function fetchArtifact(
  client: RegistryClient,
  reference: Reference,
  options: CallOptions = {},
): Promise<Artifact> {
  const { bytes, descriptor } = await client.fetchManifest(reference, options);
  const parsed = parseManifest(bytes, descriptor.mediaType);
  if (parsed.kind === "index")
    throw new OcidError("INVALID_ARGUMENT", `${formatReference(reference)} is an index, not an artifact`);
  const { manifest } = parsed;
  return {
    descriptor,
    manifest,
    artifactType: manifest.artifactType ?? manifest.config.mediaType,
    blobs: manifest.layers.filter(({ mediaType }) => mediaType !== mediaTypes.ociEmpty),
  };
}
