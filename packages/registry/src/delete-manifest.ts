import { randomUUID } from "node:crypto";
import { OcidError } from "@ocid/base";
import {
  type Digest,
  digestBytes,
  formatReference,
  mediaTypes,
  parseManifest,
  type Reference,
} from "@ocid/spec";
import type { CallOptions } from "./call-options.ts";
import { fetchManifest, putManifest, resolveManifest } from "./manifests.ts";
import type { Place } from "./places.ts";
import { bytesSource, pushBlob } from "./push-blob.ts";
import { forgetReferrer } from "./referrers.ts";
import { tagsOf } from "./tags.ts";
import { discard } from "./transport.ts";

export interface DeleteOptions extends CallOptions {
  /** Delete a digest together with the tags that point at it. Default false: FAILED_PRECONDITION names them. */
  readonly withTags?: boolean | undefined;
}

/** Deletes a tag, or a manifest by its digest (distribution-spec, "Deleting Tags", "Deleting Manifests"). */
export async function deleteManifest(place: Place, options: DeleteOptions): Promise<void> {
  const { reference } = place;
  if (reference.digest === undefined) return await deleteTag(place, options);
  await refuseLosingTags(place, reference.digest, options);
  await forgetSubject(place, reference.digest, options);
  await sendDelete(place, reference.digest, options);
}

async function refuseLosingTags(place: Place, digest: Digest, options: DeleteOptions): Promise<void> {
  if (options.withTags) return;
  const { reference } = place;
  const tags = (await tagsOf(place, digest, options)).filter(tag => tag !== reference.tag);
  if (tags.length > 0)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `deleting ${formatReference(reference)} would take away what these tags point at: ${tags.join(", ")}; delete the tag alone, or ask for them to go too`,
      { reason: "TagsWouldGo", details: { tags: tags.join(",") } },
    );
}

/**
 * Deletes one tag and no other. A registry that deletes by digest only would take all tags of that digest along: there
 * the tag is first moved to a manifest that nobody else has, and that one is deleted.
 */
async function deleteTag(place: Place, options: CallOptions): Promise<void> {
  const { tag = "latest" } = place.reference;
  if (await sendDelete(place, tag, options, [400, 405, 501])) return;
  await resolveManifest(place, options);
  const placeholder = await pushPlaceholder(place, options);
  await sendDelete(place, placeholder, options);
}

async function pushPlaceholder(place: Place, options: CallOptions): Promise<Digest> {
  const config = Buffer.from(JSON.stringify({ "placeholder.for.deletion": randomUUID() }));
  const descriptor = {
    mediaType: mediaTypes.ociConfig,
    digest: digestBytes(config),
    size: config.byteLength,
  };
  await pushBlob(place, descriptor, bytesSource(config), options);
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config: descriptor, layers: [] };
  const bytes = Buffer.from(JSON.stringify(manifest));
  return (await putManifest(place, bytes, mediaTypes.ociManifest, options)).descriptor.digest;
}

/** False when the registry answers with one of the statuses that mean that it does not do this. */
async function sendDelete(
  { endpoint, reference }: Place,
  name: string,
  options: CallOptions,
  unsupported: readonly number[] = [],
): Promise<boolean> {
  const { repository } = reference;
  const response = await endpoint.send({
    method: "DELETE",
    path: `/v2/${repository}/manifests/${name}`,
    access: { repository, actions: ["pull", "push", "delete"] },
    expect: [200, 202, 204, ...unsupported],
    what: `delete ${formatReference(reference)}`,
    signal: options.signal,
  });
  discard(response);
  return !unsupported.includes(response.status);
}

/** A manifest that refers to another is noted there, where the registry lists no referrers by itself. */
async function forgetSubject(place: Place, digest: Digest, options: CallOptions): Promise<void> {
  const { registry, repository } = place.reference;
  const reference: Reference = { registry, repository, digest };
  const { bytes, descriptor } = await fetchManifest({ ...place, reference }, options);
  const parsed = parseManifest(bytes, descriptor.mediaType);
  const { subject } = parsed.kind === "image" ? parsed.manifest : parsed.index;
  if (subject) await forgetReferrer(place, subject.digest, digest, options);
}
