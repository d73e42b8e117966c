import { isOcidError, messageOf } from "@ocid/base";
import type { RegistryClient } from "@ocid/registry";
import {
  type Digest,
  formatReference,
  isIndexType,
  type Platform,
  parseManifest,
  parseReference,
  type Reference,
} from "@ocid/spec";
import type { CallOptions, ManifestBytes } from "./image-source.ts";
import type { ImageRecord } from "./ports.ts";
import { readCreated } from "./read-created.ts";

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
  /**
   * Of `stale`: when what the registry serves now was made (RFC 3339), as it says itself; the name cannot have moved
   * before. Registries keep no record of when a name moved. Undefined where the image does not say.
   */
  readonly since?: string | undefined;
  /** Of `tampered`: what of the image has changed. */
  readonly damage?: Damage | undefined;
  /** For people, and for `unknown` and `tampered` the reason. */
  readonly detail: string;
}

/** What of a stored image is not as its digests say. */
export interface Damage {
  /** Key of the item, the manifest or the config for example; undefined where it is a layer. */
  readonly item?: string | undefined;
  /** The diffID that a layer should have. */
  readonly layer?: string | undefined;
  /** Path in that layer, where the store can tell. */
  readonly file?: string | undefined;
}

export interface CompareOptions extends CallOptions {
  /** Checks the image's bytes first, `verifyStoredImage` for example; rejects with DATA_LOSS naming what has changed. */
  readonly verifyContent?: ((image: ImageRecord) => Promise<void>) | undefined;
  /** Whose image of a new index tells since when an image is stale. Default: the machine's own platform. */
  readonly platform?: Platform | undefined;
}

/** What a comparison asks of a registry client. */
export type ComparisonRegistry = Pick<RegistryClient, "resolve" | "fetchManifest" | "openBlob">;

/**
 * Compares a stored image with the registry. One HEAD request decides in most cases. Only when a name points at
 * something that is not known here, that is read: the image is the same if its manifest is in the new index; if not,
 * config or annotations say since when it is stale. Never fails but by its signal: what cannot be found out is `unknown`.
 */
export async function compareImage(
  client: ComparisonRegistry,
  image: ImageRecord,
  name: string,
  options: CompareOptions = {},
): Promise<Comparison> {
  const base = { name, imageId: image.id, localDigest: image.digest, remoteDigest: undefined };
  try {
    await options.verifyContent?.(image);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!isOcidError(error, "DATA_LOSS")) return { ...base, verdict: "unknown", detail: messageOf(error) };
    return { ...base, verdict: "tampered", damage: error.details as Damage, detail: error.message };
  }
  try {
    return await askRegistry(client, image, name, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (isOcidError(error, "NOT_FOUND"))
      return { ...base, verdict: "gone", detail: `the registry has no ${name}` };
    return { ...base, verdict: "unknown", detail: messageOf(error) };
  }
}

async function askRegistry(
  client: ComparisonRegistry,
  image: ImageRecord,
  name: string,
  options: CompareOptions,
): Promise<Comparison> {
  const reference = taggedReference(name);
  const full = formatReference(reference);
  const remote = await client.resolve(reference, options);
  const found = { name, imageId: image.id, localDigest: image.digest, remoteDigest: remote.digest };
  const ours = localDigests(image);
  if (ours.includes(remote.digest))
    return { ...found, verdict: "same", detail: `${full} is ${remote.digest}` };
  const { registry, repository } = reference;
  const served = await client.fetchManifest({ registry, repository, digest: remote.digest }, options);
  const instance = findInIndex(served, ours);
  if (instance !== undefined)
    return {
      ...found,
      verdict: "same",
      detail: `${full} is the index ${remote.digest} now, in which the image ${instance} is the same`,
    };
  const since = await readCreated(client, reference, served, options);
  return {
    ...found,
    verdict: "stale",
    since,
    detail: `${full} was ${image.digest ?? "not known"} and is ${remote.digest} now${since === undefined ? "" : `, made ${since}`}`,
  };
}

/** Digests of the manifests by which an image is known here, that of the index it came from included. */
function localDigests(image: ImageRecord): readonly Digest[] {
  const manifests = Object.entries(image.bigDataDigests).filter(([key]) => key.startsWith("manifest"));
  return [...new Set([...(image.digest ? [image.digest] : []), ...manifests.map(([, digest]) => digest)])];
}

function findInIndex({ bytes, descriptor }: ManifestBytes, ours: readonly Digest[]): Digest | undefined {
  if (!isIndexType(descriptor.mediaType)) return undefined;
  const parsed = parseManifest(bytes, descriptor.mediaType);
  if (parsed.kind !== "index") return undefined;
  return parsed.index.manifests.find(entry => ours.includes(entry.digest))?.digest;
}

/** A tag says what a name points at now; a digest alone can only be there or gone. */
function taggedReference(name: string): Reference {
  const { registry, repository, tag, digest } = parseReference(name);
  if (tag !== undefined) return { registry, repository, tag };
  return { registry, repository, ...(digest === undefined ? {} : { digest }) };
}
