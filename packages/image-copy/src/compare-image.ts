import { isOcidError } from "@ocid/base";
import type { RegistryClient } from "@ocid/registry";
import { type Digest, formatReference, parseReference, type Reference } from "@ocid/spec";
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
  /** Checks the image's bytes first; rejects with DATA_LOSS naming what has changed. */
  readonly verifyContent?: ((image: ImageRecord) => Promise<void>) | undefined;
}

/**
 * Compares a stored image with the registry by one HEAD request. An image that was pulled through an index is the same
 * when the name points at that index, or at the platform's own manifest.
 */
export async function compareImage(
  client: RegistryClient,
  image: ImageRecord,
  name: string,
  options: CompareOptions = {},
): Promise<Comparison> {
  const local = [
    ...new Set([
      image.digest,
      ...Object.entries(image.bigDataDigests).flatMap(([key, digest]) =>
        key.startsWith("manifest") ? [digest] : [],
      ),
    ]),
  ].filter(digest => digest !== undefined);
  const base = { name, imageId: image.id, localDigest: image.digest };
  if (options.verifyContent) {
    try {
      await options.verifyContent(image);
    } catch (error) {
      if (!isOcidError(error, "DATA_LOSS")) throw error;
      return { ...base, verdict: "tampered", remoteDigest: undefined, detail: error.message };
    }
  }
  const reference = taggedReference(name);
  try {
    const remote = await client.resolve(reference, options);
    if (local.includes(remote.digest))
      return {
        ...base,
        verdict: "same",
        remoteDigest: remote.digest,
        detail: `${formatReference(reference)} is ${remote.digest}`,
      };
    return {
      ...base,
      verdict: "stale",
      remoteDigest: remote.digest,
      detail: `${formatReference(reference)} was ${image.digest ?? "unknown"} and is ${remote.digest} now`,
    };
  } catch (error) {
    options.signal?.throwIfAborted();
    if (isOcidError(error, "NOT_FOUND"))
      return {
        ...base,
        verdict: "gone",
        remoteDigest: undefined,
        detail: `the registry has no ${formatReference(reference)}`,
      };
    return { ...base, verdict: "unknown", remoteDigest: undefined, detail: (error as Error).message };
  }
}

/** A tag says what a name points at now; a digest alone can only be there or gone. */
function taggedReference(name: string): Reference {
  const reference = parseReference(name);
  return reference.tag === undefined
    ? reference
    : { registry: reference.registry, repository: reference.repository, tag: reference.tag };
}
