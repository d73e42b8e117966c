import { isOcidError, readCapped } from "@ocid/base";
import type { RegistryClient } from "@ocid/registry";
import { type Descriptor, type Digest, mediaTypes, parseManifest, type Reference } from "@ocid/spec";
import type { CallOptions } from "../image-source.ts";
import {
  type ImageSignature,
  isBundleType,
  maxSignatureBytes,
  maxSignatures,
  payloadType,
} from "./image-signature.ts";

type Client = Pick<RegistryClient, "fetchManifest" | "openBlob">;

/** Signatures that cosign attached to a manifest: the image with the tag `sha256-<hex>.sig` in the same repository. */
export async function readAttachedSignatures(
  client: Client,
  image: Reference,
  digest: Digest,
  options: CallOptions,
): Promise<readonly ImageSignature[]> {
  const reference = attachmentOf(image, digest);
  const isSignature = (type: string) => type === payloadType || isBundleType(type);
  const layers = await layersOf(client, reference, isSignature, options);
  const found: ImageSignature[] = [];
  for (const layer of layers) {
    const payload = await readLayer(client, reference, layer, options);
    found.push(
      isBundleType(layer.mediaType)
        ? { kind: "bundle", document: payload }
        : { kind: "sigstore", payload, annotations: layer.annotations ?? {} },
    );
  }
  return found;
}

/** Where cosign attaches the signatures of a manifest. */
export function attachmentOf({ registry, repository }: Reference, digest: Digest): Reference {
  return { registry, repository, tag: `${digest.replace(":", "-")}.sig` };
}

/** Bundles of sigstore's that refer to a manifest (distribution-spec, "Listing Referrers", or its tag schema). */
export async function readBundles(
  client: Client & Pick<RegistryClient, "referrers">,
  { registry, repository }: Reference,
  digest: Digest,
  options: CallOptions,
): Promise<readonly ImageSignature[]> {
  const referrers = await client.referrers({ registry, repository, digest }, { signal: options.signal });
  // In the tag schema cosign notes bundles as artifacts of the empty type; what they are their manifests say.
  const candidates = referrers.filter(
    ({ artifactType = mediaTypes.ociEmpty }) =>
      artifactType === mediaTypes.ociEmpty || isBundleType(artifactType),
  );
  const found: ImageSignature[] = [];
  for (const candidate of candidates.slice(0, maxSignatures)) {
    const reference = { registry, repository, digest: candidate.digest };
    for (const layer of await layersOf(client, reference, isBundleType, options))
      found.push({ kind: "bundle", document: await readLayer(client, reference, layer, options) });
  }
  return found;
}

/** Layers of a manifest that have the type; none where there is no such manifest. */
async function layersOf(
  client: Client,
  reference: Reference,
  isWanted: (mediaType: string) => boolean,
  options: CallOptions,
): Promise<readonly Descriptor[]> {
  try {
    const { bytes } = await client.fetchManifest(reference, options);
    const parsed = parseManifest(bytes);
    if (parsed.kind !== "image") return [];
    return parsed.manifest.layers.filter(({ mediaType }) => isWanted(mediaType)).slice(0, maxSignatures);
  } catch (error) {
    if (isOcidError(error, "NOT_FOUND")) return [];
    throw error;
  }
}

async function readLayer(
  client: Client,
  reference: Reference,
  layer: Descriptor,
  { signal }: CallOptions,
): Promise<Uint8Array> {
  return await readCapped(
    client.openBlob(reference, layer, { signal }),
    maxSignatureBytes,
    `signature ${layer.digest}`,
  );
}
