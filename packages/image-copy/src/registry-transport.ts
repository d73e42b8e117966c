import type { RegistryClient } from "@ocid/registry";
import { type Digest, formatReference, type Reference, referenceName } from "@ocid/spec";
import type { BlobDestination, ImageSource } from "./image-source.ts";

/** An image in a registry. */
export function createRegistrySource(client: RegistryClient, reference: Reference): ImageSource {
  const of = (digest?: Digest): Reference =>
    digest === undefined
      ? pinned(reference)
      : { registry: reference.registry, repository: reference.repository, digest };
  return {
    name: `docker://${formatReference(reference)}`,
    mountFrom: referenceName(reference),
    getManifest: (digest, options) => client.fetchManifest(of(digest), options),
    openBlob: (descriptor, options) => client.openBlob(reference, descriptor, options),
    blobSource: (descriptor, options) => client.blobSource(reference, descriptor, options),
  };
}

/** With a digest the tag has no say in what is fetched. */
function pinned(reference: Reference): Reference {
  return reference.digest === undefined
    ? reference
    : { registry: reference.registry, repository: reference.repository, digest: reference.digest };
}

export function createRegistryDestination(client: RegistryClient, reference: Reference): BlobDestination {
  return {
    kind: "blobs",
    name: `docker://${formatReference(reference)}`,
    hasBlob: (descriptor, options) => client.hasBlob(reference, descriptor.digest, options),
    async putBlob(descriptor, open, options = {}) {
      const sameRegistry =
        options.mountFrom?.startsWith(`${reference.registry}/`) &&
        options.mountFrom !== referenceName(reference);
      const mountFrom = sameRegistry ? options.mountFrom!.slice(reference.registry.length + 1) : undefined;
      return (await client.pushBlob(reference, descriptor, open, { signal: options.signal, mountFrom })).sent;
    },
    async putManifest({ bytes, descriptor }, named, options) {
      const target: Reference = named
        ? reference
        : { registry: reference.registry, repository: reference.repository, digest: descriptor.digest };
      await client.pushManifest(target, bytes, descriptor.mediaType, options);
    },
  };
}
