import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import { isObject } from "@ocid/spec";
import { parse } from "smol-toml";

export interface Mirror {
  readonly location: string;
  readonly insecure: boolean;
  readonly pullFrom: "all" | "digest-only" | "tag-only";
}

/** A `[[registry]]` table. */
export interface RegistryEntry {
  /** What a reference begins with, or `*.domain`. */
  readonly prefix: string;
  /** Replaces the prefix; empty keeps the reference (wildcards only). */
  readonly location: string;
  readonly insecure: boolean;
  readonly blocked: boolean;
  readonly mirrors: readonly Mirror[];
}

export interface RegistriesConf {
  readonly registries: readonly RegistryEntry[];
  readonly searchRegistries: readonly string[];
  readonly shortNameMode: "enforcing" | "permissive" | "disabled";
  readonly aliases: Readonly<Record<string, string>>;
  /** Where credentials are looked for, in this order; `containers-auth.json` stands for the files. */
  readonly credentialHelpers: readonly string[];
}

export const emptyRegistriesConf: RegistriesConf = {
  registries: [],
  searchRegistries: [],
  shortNameMode: "permissive",
  aliases: {},
  credentialHelpers: ["containers-auth.json"],
};

/** Environment variables, as in `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Loads registries.conf in its second version with its drop-ins (containers-registries.conf(5)).
 * `CONTAINERS_REGISTRIES_CONF` names the only file to read. INVALID_ARGUMENT names the file and the mistake.
 */
export function loadRegistriesConf(env: Environment = process.env): RegistriesConf {
  const asked = env["CONTAINERS_REGISTRIES_CONF"];
  if (asked) return merge(emptyRegistriesConf, asked);
  // Not XDG_CONFIG_HOME: the other containers tools do not look there for this file.
  const home = join(env["HOME"] || homedir(), ".config/containers");
  const own = join(home, "registries.conf");
  const files = existsSync(own)
    ? [own, ...dropIns(join(home, "registries.conf.d"))]
    : [
        "/etc/containers/registries.conf",
        ...dropIns("/etc/containers/registries.conf.d"),
        ...dropIns(join(home, "registries.conf.d")),
      ].filter(path => existsSync(path));
  return withRecordedAliases(files.reduce(merge, emptyRegistriesConf), env);
}

/** What users chose when podman asked them precedes what files say (containers-registries.conf(5), short-name aliasing). */
function withRecordedAliases(conf: RegistriesConf, env: Environment): RegistriesConf {
  const cache =
    process.getuid?.() === 0
      ? "/var/cache"
      : env["XDG_CACHE_HOME"] || join(env["HOME"] || homedir(), ".cache");
  const file = join(cache, "containers/short-name-aliases.conf");
  if (!existsSync(file)) return conf;
  return { ...conf, aliases: merge(conf, file).aliases };
}

function dropIns(directory: string): readonly string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter(name => name.endsWith(".conf"))
    .sort()
    .map(name => join(directory, name));
}

function merge(base: RegistriesConf, file: string): RegistriesConf {
  let table: Record<string, unknown>;
  try {
    table = parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw wrapError(`read ${file}`, error, "INVALID_ARGUMENT");
  }
  return parseRegistriesConf(table, file, base);
}

/** Applies one file's tables over what earlier files said. */
export function parseRegistriesConf(
  table: Record<string, unknown>,
  file: string,
  base: RegistriesConf = emptyRegistriesConf,
): RegistriesConf {
  const invalid = (what: string) => new OcidError("INVALID_ARGUMENT", `${file}: ${what}`);
  const old = table["registries"];
  if (isObject(old)) {
    if (table["registry"] !== undefined || table["unqualified-search-registries"] !== undefined)
      throw invalid("mixes the first and the second version of the format");
    return fromVersionOne(old, base, invalid);
  }
  const entries = asTables(table["registry"]).map(entry => parseEntry(entry, invalid));
  const own = new Map<string, RegistryEntry>();
  for (const entry of entries) {
    const same = entries.find(other => other.location === entry.location && entry.location !== "")!;
    if (same && (same.insecure !== entry.insecure || same.blocked !== entry.blocked))
      throw invalid(`the location ${entry.location} is insecure or blocked in one table and not in another`);
    if (!own.has(entry.prefix)) own.set(entry.prefix, entry);
  }
  const helpers = table["credential-helpers"];
  const search = table["unqualified-search-registries"];
  const mode = table["short-name-mode"];
  if (mode !== undefined && mode !== "" && !["enforcing", "permissive", "disabled"].includes(mode as string))
    throw invalid(
      `short-name-mode should be enforcing, permissive or disabled, found ${JSON.stringify(mode)}`,
    );
  const aliases: Record<string, string> = { ...base.aliases };
  for (const [name, value] of Object.entries(isObject(table["aliases"]) ? table["aliases"] : {})) {
    if (typeof value !== "string") throw invalid(`alias ${name} should be a string`);
    if (value === "") delete aliases[name];
    else aliases[name] = value;
  }
  return {
    registries: [...base.registries.filter(entry => !own.has(entry.prefix)), ...own.values()],
    searchRegistries: Array.isArray(search)
      ? asStrings(search, "unqualified-search-registries", invalid).map(item => trimLocation(item, invalid))
      : base.searchRegistries,
    shortNameMode: (mode as RegistriesConf["shortNameMode"]) || base.shortNameMode,
    aliases,
    credentialHelpers: Array.isArray(helpers)
      ? asStrings(helpers, "credential-helpers", invalid)
      : base.credentialHelpers,
  };
}

function parseEntry(entry: Record<string, unknown>, invalid: (what: string) => OcidError): RegistryEntry {
  const location = typeof entry["location"] === "string" ? trimLocation(entry["location"], invalid) : "";
  const prefix =
    typeof entry["prefix"] === "string" && entry["prefix"] !== ""
      ? trimLocation(entry["prefix"], invalid)
      : location;
  if (prefix === "") throw invalid("a [[registry]] needs a location or a prefix");
  if (location === "" && !prefix.startsWith("*.")) throw invalid(`registry ${prefix} needs a location`);
  if (prefix.startsWith("*.") && /[/:@]/.test(prefix))
    throw invalid(`the wildcard ${prefix} can only be a host`);
  const digestOnly = entry["mirror-by-digest-only"] === true;
  if (entry["pull-from-mirror"] !== undefined)
    throw invalid(`registry ${prefix}: pull-from-mirror belongs to a mirror`);
  const mirrors = asTables(entry["mirror"]).map((mirror): Mirror => {
    const pull = mirror["pull-from-mirror"] ?? "";
    if (pull !== "" && digestOnly)
      throw invalid(`registry ${prefix}: pull-from-mirror and mirror-by-digest-only exclude each other`);
    if (!["", "all", "digest-only", "tag-only"].includes(pull as string))
      throw invalid(`registry ${prefix}: pull-from-mirror should be all, digest-only or tag-only`);
    if (typeof mirror["location"] !== "string" || mirror["location"] === "")
      throw invalid(`registry ${prefix}: a mirror needs a location`);
    return {
      location: trimLocation(mirror["location"], invalid),
      insecure: mirror["insecure"] === true,
      pullFrom: digestOnly ? "digest-only" : ((pull || "all") as Mirror["pullFrom"]),
    };
  });
  return {
    prefix,
    location,
    insecure: entry["insecure"] === true,
    blocked: entry["blocked"] === true,
    mirrors,
  };
}

function fromVersionOne(
  old: Record<string, unknown>,
  base: RegistriesConf,
  invalid: (what: string) => OcidError,
): RegistriesConf {
  const list = (key: string) =>
    isObject(old[key]) && Array.isArray(old[key]["registries"])
      ? asStrings(old[key]["registries"], `registries.${key}`, invalid)
      : [];
  const insecure = new Set(list("insecure"));
  const blocked = new Set(list("block"));
  const registries = [...new Set([...insecure, ...blocked])].map(name => ({
    prefix: name,
    location: name,
    insecure: insecure.has(name),
    blocked: blocked.has(name),
    mirrors: [],
  }));
  return { ...base, registries, searchRegistries: list("search") };
}

function trimLocation(text: string, invalid: (what: string) => OcidError): string {
  if (/^https?:\/\//.test(text))
    throw invalid(`${JSON.stringify(text)} should be written without http:// or https://`);
  return text.replace(/\/+$/, "");
}

function asStrings(
  items: readonly unknown[],
  key: string,
  invalid: (what: string) => OcidError,
): readonly string[] {
  const wrong = items.findIndex(item => typeof item !== "string");
  if (wrong === -1) return items as readonly string[];
  throw invalid(`${key} should be a list of strings, found ${JSON.stringify(items[wrong])?.slice(0, 100)}`);
}

function asTables(value: unknown): readonly Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}
