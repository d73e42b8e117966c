import { isOcidError, OcidError } from "@ocid/base";
import { type Digest, isTag, type Reference, referenceName } from "@ocid/spec";
import type { CallOptions } from "./call-options.ts";
import { resolveManifest } from "./manifests.ts";
import { readPages } from "./pages.ts";
import type { Place } from "./places.ts";

export interface ListTagsOptions extends CallOptions {
  /** Only tags that come after this one in the registry's order. */
  readonly after?: string | undefined;
  /** Tags asked for at once. Default 1000; registries may give fewer. */
  readonly pageSize?: number | undefined;
}

/** All tags of a repository, page by page (distribution-spec, "Listing Tags"). */
export async function* listTags(
  place: Place,
  options: ListTagsOptions,
): AsyncGenerator<string, void, undefined> {
  const { repository } = place.reference;
  const query = new URLSearchParams({ n: String(options.pageSize ?? 1000) });
  if (options.after !== undefined) query.set("last", options.after);
  const what = `list tags of ${referenceName(place.reference)}`;
  for await (const page of readPages(place, {
    path: `/v2/${repository}/tags/list?${query}`,
    access: { repository, actions: ["pull"] },
    expect: [200],
    what,
    signal: options.signal,
  })) {
    // An empty repository's list is null in some registries.
    const tags = page?.["tags"] ?? [];
    if (!Array.isArray(tags)) throw new OcidError("INVALID_ARGUMENT", `${what}: the answer holds no list`);
    for (const tag of tags) {
      if (!isTag(tag))
        throw new OcidError(
          "INVALID_ARGUMENT",
          `${what}: the registry lists ${JSON.stringify(String(tag).slice(0, 100))}, which is no tag`,
        );
      yield tag;
    }
  }
}

/** Which tags of the repository point at a manifest; asks for each of them with HEAD. */
export async function tagsOf(place: Place, digest: Digest, options: CallOptions): Promise<readonly string[]> {
  const { registry, repository } = place.reference;
  const found: string[] = [];
  for await (const tag of listTags(place, options)) {
    const reference: Reference = { registry, repository, tag };
    try {
      if ((await resolveManifest({ ...place, reference }, options)).digest === digest) found.push(tag);
    } catch (error) {
      // A tag may go, or point at nothing, while we look.
      if (!isOcidError(error, "NOT_FOUND")) throw error;
    }
  }
  return found;
}
