import { isOcidError, OcidError } from "@ocid/base";
import {
  type Descriptor,
  type Digest,
  formatReference,
  type ImageIndex,
  mediaTypes,
  parseDescriptor,
  parseManifest,
  type Reference,
} from "@ocid/spec";
import type { CallOptions } from "./call-options.ts";
import { fetchManifest, putManifest } from "./manifests.ts";
import { readPages } from "./pages.ts";
import type { Place } from "./places.ts";

const maxReferrers = 10_000;

/**
 * What refers to a manifest (distribution-spec, "Listing Referrers"); where the registry cannot list them, what clients
 * have noted under the tag `sha256-<hex>` ("Referrers Tag Schema").
 */
export async function listReferrers(
  place: Place,
  digest: Digest,
  options: CallOptions & { readonly artifactType?: string | undefined },
): Promise<readonly Descriptor[]> {
  const { artifactType, signal } = options;
  const found =
    (await askForReferrers(place, digest, options)) ?? (await readNotes(place, digest, { signal }));
  return artifactType === undefined
    ? found
    : found.filter(descriptor => descriptor.artifactType === artifactType);
}

/** Undefined where the registry does not know the request. */
async function askForReferrers(
  place: Place,
  digest: Digest,
  options: CallOptions & { readonly artifactType?: string | undefined },
): Promise<readonly Descriptor[] | undefined> {
  const { repository } = place.reference;
  const query =
    options.artifactType === undefined ? "" : `?artifactType=${encodeURIComponent(options.artifactType)}`;
  const what = `list referrers of ${formatReference({ ...place.reference, digest })}`;
  const found: Descriptor[] = [];
  for await (const page of readPages(place, {
    path: `/v2/${repository}/referrers/${digest}${query}`,
    access: { repository, actions: ["pull"] },
    headers: { accept: mediaTypes.ociIndex },
    expect: [200, 400, 404, 405, 406, 501],
    what,
    signal: options.signal,
  })) {
    if (page === undefined) return found.length === 0 ? undefined : found;
    const { manifests } = page;
    if (!Array.isArray(manifests)) throw new OcidError("INVALID_ARGUMENT", `${what}: the answer is no index`);
    found.push(...manifests.map(item => parseDescriptor(item, "referrer")));
    if (found.length > maxReferrers)
      throw new OcidError("RESOURCE_EXHAUSTED", `${what}: there are more than ${maxReferrers}`);
  }
  return found;
}

/** Notes in the subject's tag that a manifest refers to it, where the registry does not do so itself. */
export async function noteReferrer(
  place: Place,
  subject: Digest,
  referrer: Descriptor,
  options: CallOptions,
): Promise<void> {
  const noted = await readNotes(place, subject, options);
  if (noted.some(({ digest }) => digest === referrer.digest)) return;
  await writeNotes(place, subject, [...noted, referrer], options);
}

/** Takes a manifest that is about to be deleted out of the notes of its subject. */
export async function forgetReferrer(
  place: Place,
  subject: Digest,
  referrer: Digest,
  options: CallOptions,
): Promise<void> {
  const noted = await readNotes(place, subject, options);
  const left = noted.filter(({ digest }) => digest !== referrer);
  if (left.length < noted.length) await writeNotes(place, subject, left, options);
}

/** What a registry would say of a manifest in a list of referrers. */
export function describeReferrer(descriptor: Descriptor, bytes: Uint8Array): Descriptor {
  const parsed = parseManifest(bytes, descriptor.mediaType);
  const { artifactType, annotations } = parsed.kind === "image" ? parsed.manifest : parsed.index;
  const type = artifactType ?? (parsed.kind === "image" ? parsed.manifest.config.mediaType : undefined);
  return {
    ...descriptor,
    ...(type === undefined ? {} : { artifactType: type }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

async function readNotes(
  place: Place,
  subject: Digest,
  options: CallOptions,
): Promise<readonly Descriptor[]> {
  try {
    const { bytes } = await fetchManifest({ ...place, reference: notesOf(place, subject) }, options);
    const parsed = parseManifest(bytes);
    return parsed.kind === "index" ? parsed.index.manifests : [];
  } catch (error) {
    if (isOcidError(error, "NOT_FOUND")) return [];
    throw error;
  }
}

async function writeNotes(
  place: Place,
  subject: Digest,
  manifests: readonly Descriptor[],
  options: CallOptions,
): Promise<void> {
  const index: ImageIndex = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
  await putManifest(
    { ...place, reference: notesOf(place, subject) },
    Buffer.from(JSON.stringify(index)),
    mediaTypes.ociIndex,
    options,
  );
}

function notesOf({ reference }: Place, subject: Digest): Reference {
  const { registry, repository } = reference;
  return { registry, repository, tag: subject.replace(":", "-").slice(0, 128) };
}
