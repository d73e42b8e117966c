import { OcidError } from "@ocid/base";
import type { RegistryClient } from "@ocid/registry";
import { parseDigest, parseReference, type Reference } from "@ocid/spec";
import { parse, satisfies } from "semver";
import type { SyncRegistry, TagFilter } from "./sync-list.ts";

/** One image to mirror, and what it is called at the destination: `repository:tag`, or `repository@digest`. */
export interface SyncItem {
  readonly source: Reference;
  readonly name: string;
}

/** Finds the images that a list means: tags are listed only where the list does not name them. */
export async function planSync(
  client: RegistryClient,
  { registry, repositories }: SyncRegistry,
  options: { readonly scoped: boolean },
): Promise<readonly SyncItem[]> {
  const items: SyncItem[] = [];
  for (const { repository, filter } of repositories) {
    const base = parseReference(`${registry}/${repository}`);
    const name = options.scoped ? `${base.registry}/${base.repository}` : base.repository.split("/").at(-1)!;
    const names = filter.kind === "named" ? filter.names : await matchingTags(client, base, filter);
    for (const wanted of names) {
      const { registry: host, repository: path } = base;
      items.push(
        wanted.includes(":")
          ? {
              source: { registry: host, repository: path, digest: parseDigest(wanted) },
              name: `${name}@${wanted}`,
            }
          : { source: { registry: host, repository: path, tag: wanted }, name: `${name}:${wanted}` },
      );
    }
  }
  return items;
}

/** Fails when two images would get the same name, before one of them overwrites the other. */
export function refuseCollisions(items: readonly SyncItem[]): void {
  const seen = new Map<string, Reference>();
  for (const { name, source } of items) {
    const other = seen.get(name);
    if (other && (other.registry !== source.registry || other.repository !== source.repository))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `${other.registry}/${other.repository} and ${source.registry}/${source.repository} would both become ${name}; --scoped keeps their paths`,
      );
    seen.set(name, source);
  }
}

async function matchingTags(
  client: RegistryClient,
  base: Reference,
  filter: TagFilter,
): Promise<readonly string[]> {
  const tags: string[] = [];
  for await (const tag of client.listTags(base)) if (isWanted(tag, filter)) tags.push(tag);
  return tags;
}

/** Tags that are no versions, such as `latest`, are in no range; a `v` before and missing parts are allowed. */
export function isWanted(tag: string, filter: TagFilter): boolean {
  switch (filter.kind) {
    case "all":
      return true;
    case "named":
      return filter.names.includes(tag);
    case "pattern":
      return filter.pattern.test(tag);
    case "semver": {
      const [, major, minor = "0", patch = "0", rest = ""] =
        /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?([-+].*)?$/.exec(tag) ?? [];
      const version = major === undefined ? null : parse(`${major}.${minor}.${patch}${rest}`);
      return version !== null && satisfies(version, filter.range);
    }
  }
}
