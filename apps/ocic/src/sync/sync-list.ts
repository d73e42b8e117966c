import { OcidError } from "@ocid/base";
import { isObject, isTag, parseReference } from "@ocid/spec";
import { validRange } from "semver";
import { parse } from "yaml";

/** Which tags of a repository are wanted. */
export type TagFilter =
  | { readonly kind: "all" }
  /** Tags and digests as they are written. */
  | { readonly kind: "named"; readonly names: readonly string[] }
  | { readonly kind: "pattern"; readonly pattern: RegExp }
  | { readonly kind: "semver"; readonly range: string };

export interface SyncRepository {
  readonly repository: string;
  readonly filter: TagFilter;
}

/** One registry of a list, with the repositories wanted of it. */
export interface SyncRegistry {
  readonly registry: string;
  readonly repositories: readonly SyncRepository[];
  readonly credentials?: { readonly username: string; readonly password: string };
  readonly tlsVerify?: boolean;
  readonly certificateDirectory?: string;
}

const keys = ["images", "images-by-tag-regex", "images-by-semver", "credentials", "tls-verify", "cert-dir"];

/**
 * Reads a list of what to mirror, in the form of skopeo-sync(1): for each registry `images` (repository: list of tags and
 * digests, none for all), `images-by-tag-regex` and `images-by-semver`, `credentials`, `tls-verify`, `cert-dir`.
 * INVALID_ARGUMENT names what cannot be understood; `file` is for errors.
 */
export function parseSyncList(text: string, file: string): readonly SyncRegistry[] {
  const invalid = (what: string) => new OcidError("INVALID_ARGUMENT", `${file}: ${what}`);
  let list: unknown;
  try {
    list = parse(text, { maxAliasCount: 0, uniqueKeys: true });
  } catch (error) {
    throw invalid((error as Error).message.split("\n")[0]!);
  }
  if (!isObject(list)) throw invalid("the list should be a map of registries");
  return Object.entries(list).map(([registry, value]) => parseRegistry(registry, value, invalid));
}

function parseRegistry(registry: string, value: unknown, invalid: (what: string) => OcidError): SyncRegistry {
  if (!isObject(value)) throw invalid(`${registry} should be a map`);
  const unknown = Object.keys(value).find(key => !keys.includes(key));
  if (unknown !== undefined)
    throw invalid(`${registry}: ${unknown} is not known (known are ${keys.join(", ")})`);
  const part = (key: string) => {
    const found = value[key] ?? {};
    if (!isObject(found)) throw invalid(`${registry}: ${key} should be a map of repositories`);
    return Object.entries(found).map(([repository, what]) => {
      parseReference(`${registry}/${repository}`);
      return [repository, what] as const;
    });
  };
  const repositories: SyncRepository[] = [
    ...part("images").map(([repository, names]) => ({
      repository,
      filter: namedFilter(names, `${registry}/${repository}`, invalid),
    })),
    ...part("images-by-tag-regex").map(([repository, pattern]) => ({
      repository,
      filter: patternFilter(pattern, `${registry}/${repository}`, invalid),
    })),
    ...part("images-by-semver").map(([repository, range]) => ({
      repository,
      filter: semverFilter(range, `${registry}/${repository}`, invalid),
    })),
  ];
  return { registry, repositories, ...parseAccess(registry, value, invalid) };
}

function parseAccess(registry: string, value: Record<string, unknown>, invalid: (what: string) => OcidError) {
  const { credentials, "tls-verify": tlsVerify, "cert-dir": certificateDirectory } = value;
  if (tlsVerify !== undefined && typeof tlsVerify !== "boolean")
    throw invalid(`${registry}: tls-verify should be true or false`);
  if (certificateDirectory !== undefined && typeof certificateDirectory !== "string")
    throw invalid(`${registry}: cert-dir should be a directory`);
  const { username, password } = isObject(credentials) ? credentials : {};
  if (credentials !== undefined && (typeof username !== "string" || typeof password !== "string"))
    throw invalid(`${registry}: credentials should be username and password`);
  return {
    ...(typeof username === "string" && typeof password === "string"
      ? { credentials: { username, password } }
      : {}),
    ...(tlsVerify === undefined ? {} : { tlsVerify }),
    ...(certificateDirectory === undefined ? {} : { certificateDirectory }),
  };
}

function namedFilter(names: unknown, of: string, invalid: (what: string) => OcidError): TagFilter {
  const list = names ?? [];
  if (!Array.isArray(list)) throw invalid(`${of} should be a list of tags and digests`);
  if (list.length === 0) return { kind: "all" };
  const wrong = list.find(name => !isTag(name) && !/^sha(256|512):[0-9a-f]+$/.test(String(name)));
  if (wrong !== undefined)
    throw invalid(`${of}: ${JSON.stringify(wrong)} is no tag (write numbers in quotes)`);
  return { kind: "named", names: list as string[] };
}

function patternFilter(text: unknown, of: string, invalid: (what: string) => OcidError): TagFilter {
  try {
    if (typeof text === "string") return { kind: "pattern", pattern: new RegExp(text) };
  } catch {
    // Told below.
  }
  throw invalid(`${of}: ${JSON.stringify(text)} is not a regular expression`);
}

function semverFilter(text: unknown, of: string, invalid: (what: string) => OcidError): TagFilter {
  if (typeof text === "string" && validRange(text) !== null) return { kind: "semver", range: text };
  throw invalid(`${of}: ${JSON.stringify(text)} is not a range of versions`);
}
