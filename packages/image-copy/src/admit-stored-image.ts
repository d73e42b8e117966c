import { isOcidError, OcidError } from "@ocid/base";
import { parseManifest, type Reference } from "@ocid/spec";
import type { CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";
import type { ImagePolicy } from "./policy.ts";
import { registryIdentity } from "./policy-scopes.ts";
import type { ImageRecord, ImageStorePort } from "./ports.ts";
import { createStorageSource } from "./storage-source.ts";

/**
 * Fails with PERMISSION_DENIED unless the policy lets a stored image be used under one of the names; an image without
 * a name is known as what it is in local storage. Asks no registry: the signatures are those that came with the image.
 */
export async function admitStoredImage(
  store: ImageStorePort,
  image: ImageRecord,
  references: readonly Reference[],
  policy: ImagePolicy,
  options: CallOptions = {},
): Promise<void> {
  const identities = references.map(registryIdentity);
  const accepts = (rule: { readonly type: string }) => rule.type === "insecureAcceptAnything";
  if (identities.some(identity => policy.requirementsFor(identity).every(accepts))) return;
  const stored = await createStorageSource(store, image.id);
  const manifests = await manifestsOf(image, stored);
  const failures: OcidError[] = [];
  for (const identity of identities.length > 0 ? identities : [stored.identity!]) {
    const source: ImageSource = { ...stored, name: identity.reference ?? stored.name, identity };
    try {
      await policy.admit(source, manifests, options);
      return;
    } catch (error) {
      if (!isOcidError(error, "PERMISSION_DENIED")) throw error;
      failures.push(error);
    }
  }
  if (failures.length === 1) throw failures[0];
  throw new OcidError("PERMISSION_DENIED", failures.map(({ message }) => message).join("; "), {
    reason: "PolicyRejected",
  });
}

/** The image's manifest, and the indexes through which it was found. */
async function manifestsOf(image: ImageRecord, stored: ImageSource): Promise<readonly ManifestBytes[]> {
  const own = await stored.getManifest();
  const manifests = [own];
  for (const [key, digest] of Object.entries(image.bigDataDigests)) {
    if (key !== `manifest-${digest}` || digest === own.descriptor.digest) continue;
    const manifest = await stored.getManifest(digest);
    const parsed = parseManifest(manifest.bytes);
    if (
      parsed.kind === "index" &&
      parsed.index.manifests.some(entry => entry.digest === own.descriptor.digest)
    )
      manifests.push(manifest);
  }
  return manifests;
}
