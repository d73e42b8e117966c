import { isOcidError, readCapped } from "@ocid/base";
import type { RegistryClient } from "@ocid/registry";
import { type Digest, parseManifest, type Reference } from "@ocid/spec";
import type { CallOptions } from "../image-source.ts";
import { type ImageSignature, maxSignatureBytes } from "./image-signature.ts";

const payloadType = "application/vnd.dev.cosign.simplesigning.v1+json";
const maxSignatures = 128;

/** Signatures that cosign attached to a manifest: the image with the tag `sha256-<hex>.sig` in the same repository. */
export async function readAttachedSignatures(
  client: Pick<RegistryClient, "fetchManifest" | "openBlob">,
  { registry, repository }: Reference,
  digest: Digest,
  options: CallOptions,
): Promise<readonly ImageSignature[]> {
  const reference = { registry, repository, tag: `${digest.replace(":", "-")}.sig` };
  let bytes: Uint8Array;
  try {
    ({ bytes } = await client.fetchManifest(reference, options));
  } catch (error) {
    if (isOcidError(error, "NOT_FOUND")) return [];
    throw error;
  }
  const parsed = parseManifest(bytes);
  if (parsed.kind !== "image") return [];
  const layers = parsed.manifest.layers.filter(layer => layer.mediaType === payloadType);
  const found: ImageSignature[] = [];
  for (const layer of layers.slice(0, maxSignatures)) {
    const blob = client.openBlob(reference, layer, { signal: options.signal });
    const payload = await readCapped(blob, maxSignatureBytes, `signature ${layer.digest}`);
    found.push({ kind: "sigstore", payload, annotations: layer.annotations ?? {} });
  }
  return found;
}
