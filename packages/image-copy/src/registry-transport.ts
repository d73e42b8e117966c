import { codeOf, OcidError } from "@ocid/base";
import type { RegistryClient } from "@ocid/registry";
import { type Digest, formatReference, type Reference, referenceName } from "@ocid/spec";
import type { BlobDestination, ImageSource } from "./image-source.ts";
import { registryIdentity } from "./policy-scopes.ts";
import { receiveBlob } from "./receive-blob.ts";
import { readAttachedSignatures, readBundles } from "./signatures/attached-signatures.ts";
import { readLookaside } from "./signatures/lookaside.ts";
import { defaultSignatureStores, type SignatureStores } from "./signatures/registries-d.ts";

/** An image in a registry. `signatureStores`: where its signatures lie. Default: as where registries.d says nothing. */
export function createRegistrySource(
  client: RegistryClient,
  reference: Reference,
  signatureStores: SignatureStores = defaultSignatureStores,
): ImageSource {
  const name = `docker://${formatReference(reference)}`;
  const { registry, repository } = reference;
  const identity = registryIdentity(reference);
  return {
    name,
    identity,
    async getSignatures(digest, options = {}) {
      const base = signatureStores.lookasideOf(identity);
      const attached = signatureStores.usesAttachments(identity);
      return [
        ...(base === undefined ? [] : await readLookaside(base, repository, digest, options)),
        ...(attached ? await readAttachedSignatures(client, reference, digest, options) : []),
        ...((attached ?? options.bundles) ? await readBundles(client, reference, digest, options) : []),
      ];
    },
    mountFrom: referenceName(reference),
    // With a digest the tag has no say in what is fetched.
    getManifest: (digest = reference.digest, options) =>
      client.fetchManifest(digest === undefined ? reference : { registry, repository, digest }, options),
    openBlob: (descriptor, options) =>
      brokenOff(client.openBlob(reference, descriptor, options), descriptor.digest),
    async *receiveBlob(descriptor, options) {
      const blob = await client.blobSource(reference, descriptor, options);
      if (blob.kind === "http") yield* receiveBlob(blob, { ...options, size: descriptor.size });
    },
    blobSource: (descriptor, options) => client.blobSource(reference, descriptor, options),
  };
}

export function createRegistryDestination(client: RegistryClient, reference: Reference): BlobDestination {
  const { registry, repository } = reference;
  return {
    kind: "blobs",
    name: `docker://${formatReference(reference)}`,
    layers: "compressed",
    hasBlob: (descriptor, options) => client.hasBlob(reference, descriptor.digest, options),
    async putBlob(descriptor, open, { signal, mountFrom } = {}) {
      const sameRegistry = mountFrom?.startsWith(`${registry}/`) && mountFrom !== referenceName(reference);
      const from = sameRegistry ? mountFrom!.slice(registry.length + 1) : undefined;
      return (await client.pushBlob(reference, descriptor, open, { signal, mountFrom: from })).sent;
    },
    async putManifest({ bytes, descriptor }, named, options) {
      if (named && reference.digest !== undefined && reference.digest !== descriptor.digest)
        throw otherDigest(`docker://${formatReference(reference)}`, descriptor.digest);
      const target = named ? reference : { registry, repository, digest: descriptor.digest };
      await client.pushManifest(target, bytes, descriptor.mediaType, options);
    },
  };
}

/** A destination that is named by a digest is for that content only. */
export function otherDigest(name: string, digest: Digest): OcidError {
  return new OcidError(
    "FAILED_PRECONDITION",
    `${name} names another image than the one that is copied, which is ${digest}; leave the digest out`,
    { reason: "DigestMismatch" },
  );
}

/** A connection that breaks in the middle of a body has no code of the registry's; what comes after may be asked for again. */
async function* brokenOff(
  chunks: AsyncIterable<Uint8Array>,
  digest: Digest,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* chunks;
  } catch (error) {
    const { code } = error as { readonly code?: unknown };
    if (codeOf(error) === "UNKNOWN" && typeof code === "string" && code.startsWith("UND_ERR_"))
      throw new OcidError("UNAVAILABLE", `the connection broke while ${digest} was read`, { cause: error });
    throw error;
  }
}
