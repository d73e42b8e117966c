import { OcidError } from "@ocid/base";
import { formatReference, isShortName, parseReference, type Reference } from "@ocid/spec";
import type { RegistriesConf, RegistryEntry } from "./registries-conf.ts";

/** Where an image may really be had, and whether that place is declared insecure. */
export interface Location {
  readonly reference: Reference;
  readonly insecure: boolean;
  readonly isMirror: boolean;
}

/** The table that counts for a reference: the one with the longest prefix that matches. */
export function findRegistry(conf: RegistriesConf, reference: Reference): RegistryEntry | undefined {
  const text = formatReference(reference);
  let best: RegistryEntry | undefined;
  for (const entry of conf.registries) {
    if (matches(entry.prefix, text) && (best === undefined || entry.prefix.length > best.prefix.length))
      best = entry;
  }
  return best;
}

function matches(prefix: string, text: string): boolean {
  if (prefix.startsWith("*.")) {
    const host = text.slice(0, text.search(/[/:@]/) === -1 ? undefined : text.search(/[/:@]/));
    return host.endsWith(prefix.slice(1)) && host.length > prefix.length - 1;
  }
  return text.startsWith(prefix) && (text.length === prefix.length || ":/@".includes(text[prefix.length]!));
}

/**
 * Where to pull a reference from, in order: the mirrors that may serve it, then the registry itself, rewritten where
 * registries.conf says so. PERMISSION_DENIED when the registry is blocked.
 */
export function pullLocations(conf: RegistriesConf, reference: Reference): readonly Location[] {
  const entry = findRegistry(conf, reference);
  if (!entry) return [{ reference, insecure: false, isMirror: false }];
  if (entry.blocked)
    throw new OcidError(
      "PERMISSION_DENIED",
      `registry ${entry.prefix} is blocked in registries.conf, so ${formatReference(reference)} cannot be pulled`,
    );
  const usable = entry.mirrors.filter(
    mirror =>
      mirror.pullFrom === "all" || (mirror.pullFrom === "digest-only") === (reference.digest !== undefined),
  );
  return [
    ...usable.map(mirror => ({
      reference: rewrite(entry.prefix, mirror.location, reference),
      insecure: mirror.insecure,
      isMirror: true,
    })),
    {
      reference: entry.location === "" ? reference : rewrite(entry.prefix, entry.location, reference),
      insecure: entry.insecure,
      isMirror: false,
    },
  ];
}

/** Whether a registry is declared insecure, for what is not rewritten: pushes. */
export function isInsecure(conf: RegistriesConf, reference: Reference): boolean {
  return findRegistry(conf, reference)?.insecure ?? false;
}

function rewrite(prefix: string, location: string, reference: Reference): Reference {
  const text = formatReference(reference);
  // A wildcard stands for the host alone.
  const rest = prefix.startsWith("*.") ? text.slice(text.search(/\/|:(?=\d+\/)/)) : text.slice(prefix.length);
  const rewritten = parseReference(location + rest);
  // `docker.io/x` spelt with a location of one part must not gain `library/` twice.
  return reference.tag === undefined && reference.digest !== undefined
    ? { registry: rewritten.registry, repository: rewritten.repository, digest: reference.digest }
    : rewritten;
}

/**
 * What a name may stand for: itself when it names a registry, else its alias, else the name in each of the search
 * registries, else Docker Hub only where no registries.conf says anything.
 */
export function resolveShortName(conf: RegistriesConf, text: string): readonly Reference[] {
  if (!isShortName(text)) return [parseReference(text)];
  const bare = text.replace(/[:@].*$/, "");
  const suffix = text.slice(bare.length);
  const alias = Object.hasOwn(conf.aliases, bare) ? conf.aliases[bare] : undefined;
  if (alias !== undefined) return [parseReference(alias + suffix)];
  if (conf.searchRegistries.length > 0) {
    if (conf.shortNameMode === "enforcing" && conf.searchRegistries.length > 1) {
      throw new OcidError(
        "INVALID_ARGUMENT",
        `the short name ${text} could mean an image in any of ${conf.searchRegistries.join(", ")}; write the registry out`,
      );
    }
    return conf.searchRegistries.map(registry =>
      parseReference(
        `${registry}/${registry === "docker.io" && !bare.includes("/") ? `library/${bare}` : bare}${suffix}`,
      ),
    );
  }
  return [parseReference(text)];
}
