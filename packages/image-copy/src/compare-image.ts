import { isOcidError, messageOf } from "@ocid/base";
import type { RegistryClient } from "@ocid/registry";
import {
  type Descriptor,
  type Digest,
  formatReference,
  isIndexType,
  parseManifest,
  parseReference,
  type Reference,
} from "@ocid/spec";
import type { CallOptions } from "./image-source.ts";
import type { ImageRecord } from "./ports.ts";

/**
 * Whether a stored image is still what the registry serves under a name:
 * `same`; `stale`: the name points at something else now; `gone`: at nothing; `unknown`: the registry did not say;
 * `tampered`: the image's own bytes are not those of its digests.
 */
export type Verdict = "same" | "stale" | "gone" | "unknown" | "tampered";

export interface Comparison {
  /** The name that was compared. */
  readonly name: string;
  readonly imageId: string;
  readonly verdict: Verdict;
  /** Digest by which the image is known here. */
  readonly localDigest: Digest | undefined;
  /** What the name points at in the registry now. */
  readonly remoteDigest: Digest | undefined;
  /** For people, and for `unknown` and `tampered` the reason. */
  readonly detail: string;
}

export interface CompareOptions extends CallOptions {
  /** Checks the image's bytes first, `verifyStoredImage` for example; rejects with DATA_LOSS naming what has changed. */
  readonly verifyContent?: ((image: ImageRecord) => Promise<void>) | undefined;
}

/**
 * Compares a stored image with the registry. One HEAD request decides in most cases; only when a name points at an index
 * that is not known here, that index is read: the image is the same if its manifest is still in it.
 */
export async function compareImage(
  client: Pick<RegistryClient, "resolve" | "fetchManifest">,
  image: ImageRecord,
  name: string,
  options: CompareOptions = {},
): Promise<Comparison> {
  const base = { name, imageId: image.id, localDigest: image.digest };
  const damage = await findDamage(image, options);
  if (damage !== undefined) return { ...base, verdict: "tampered", remoteDigest: undefined, detail: damage };
  const reference = taggedReference(name);
  const full = formatReference(reference);
  try {
    const remote = await client.resolve(reference, options);
    const found = { ...base, remoteDigest: remote.digest };
    const ours = localDigests(image);
    if (ours.includes(remote.digest))
      return { ...found, verdict: "same", detail: `${full} is ${remote.digest}` };
    const instance = await findInIndex(client, reference, remote, ours, options);
    if (instance !== undefined)
      return {
        ...found,
        verdict: "same",
        detail: `${full} is the index ${remote.digest} now, in which the image ${instance} is the same`,
      };
    return {
      ...found,
      verdict: "stale",
      detail: `${full} was ${image.digest ?? "not known"} and is ${remote.digest} now`,
    };
  } catch (error) {
    options.signal?.throwIfAborted();
    if (isOcidError(error, "NOT_FOUND"))
      return { ...base, verdict: "gone", remoteDigest: undefined, detail: `the registry has no ${full}` };
    return { ...base, verdict: "unknown", remoteDigest: undefined, detail: messageOf(error) };
  }
}

async function findDamage(image: ImageRecord, options: CompareOptions): Promise<string | undefined> {
  try {
    await options.verifyContent?.(image);
    return undefined;
  } catch (error) {
    if (!isOcidError(error, "DATA_LOSS")) throw error;
    return error.message;
  }
}

/** Digests of the manifests by which an image is known here, that of the index it came from included. */
function localDigests(image: ImageRecord): readonly Digest[] {
  const manifests = Object.entries(image.bigDataDigests).filter(([key]) => key.startsWith("manifest"));
  return [...new Set([...(image.digest ? [image.digest] : []), ...manifests.map(([, digest]) => digest)])];
}

async function findInIndex(
  client: Pick<RegistryClient, "resolve" | "fetchManifest">,
  reference: Reference,
  remote: Descriptor,
  ours: readonly Digest[],
  options: CallOptions,
): Promise<Digest | undefined> {
  if (!isIndexType(remote.mediaType)) return undefined;
  const { registry, repository } = reference;
  const { bytes } = await client.fetchManifest({ registry, repository, digest: remote.digest }, options);
  const parsed = parseManifest(bytes, remote.mediaType);
  if (parsed.kind !== "index") return undefined;
  return parsed.index.manifests.find(entry => ours.includes(entry.digest))?.digest;
}

/** A tag says what a name points at now; a digest alone can only be there or gone. */
function taggedReference(name: string): Reference {
  const { registry, repository, tag, digest } = parseReference(name);
  if (tag !== undefined) return { registry, repository, tag };
  return { registry, repository, ...(digest === undefined ? {} : { digest }) };
}
