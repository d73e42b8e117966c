import { OcidError } from "@ocid/base";
import { checkConfig } from "./check-config.ts";
import { type ConfigFile, readConfigFiles } from "./config-files.ts";
import { type Config, defaultConfig, type Setting, settings } from "./config-schema.ts";
import { fits, fromWords, isTable, wanted } from "./config-value.ts";
import { keyLines } from "./key-positions.ts";
import { tableProblems } from "./named-table.ts";
import { type NamedTableName, namedTables } from "./named-tables.ts";
import { nearestName } from "./nearest-name.ts";

/** Values of command line flags by their names. */
export type Flags = Readonly<Record<string, string | readonly string[] | undefined>>;

/** Where a value of the effective configuration comes from. */
export type Origin =
  | { readonly kind: "default" | "storage.conf" }
  | { readonly kind: "file"; readonly path: string; readonly line: number | undefined }
  | { readonly kind: "environment" | "flag"; readonly name: string };

/** A mistake, told of the place that made it. */
export interface Problem {
  /** `FILE:LINE`, `--flag`, or the name of an environment variable. */
  readonly place: string;
  readonly message: string;
}

export interface LoadedConfig {
  readonly config: Config;
  /** By `table.key`, or by the name of a table such as `runtimes.NAME`. */
  readonly origins: ReadonlyMap<string, Origin>;
  readonly problems: readonly Problem[];
}

export interface ConfigSources {
  readonly flags?: Flags;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** What storage.conf says, so that an operator who has configured Podman need not say it again. */
  readonly storage?: Config["storage"];
}

/**
 * The effective configuration: defaults, then storage.conf, the file, its drop-ins by name, the environment
 * (`OCID_SERVER_LISTEN` for `server.listen`), the flags; the later wins. A list replaces the list before it. Mistakes
 * are INVALID_ARGUMENT, all of them in one message, each with its place.
 */
export async function loadConfig(sources: ConfigSources): Promise<LoadedConfig> {
  const loaded = await readConfig(sources);
  if (loaded.problems.length > 0) {
    const lines = loaded.problems.map(({ place, message }) => `${place}: ${message}`);
    throw new OcidError("INVALID_ARGUMENT", lines.join("\n"));
  }
  return loaded;
}

/** As `loadConfig`, but mistakes in values are returned. What is no TOML at all, or cannot be read, throws. */
export async function readConfig(sources: ConfigSources): Promise<LoadedConfig> {
  const { flags = {}, environment = {}, storage } = sources;
  const draft = new Draft();
  if (storage) {
    for (const key of ["root", "runroot", "imagestore"] as const)
      if (storage[key] !== defaultConfig.storage[key])
        draft.set(`storage.${key}`, storage[key], { kind: "storage.conf" });
  }
  const asked = flags["config"];
  for (const file of readConfigFiles(typeof asked === "string" ? asked : undefined))
    await applyFile(draft, file);
  for (const setting of settings as readonly Setting[]) {
    const name = environmentName(setting.key);
    const value = environment[name];
    if (value !== undefined)
      draft.assign(setting, fromWords(setting, wordsOf(setting, value)), name, { kind: "environment", name });
  }
  for (const setting of settings as readonly Setting[]) {
    const value = setting.flag === undefined ? undefined : flags[setting.flag];
    if (value === undefined) continue;
    const name = `--${setting.flag}`;
    const words = typeof value === "string" ? [value] : value;
    draft.assign(setting, fromWords(setting, words), name, { kind: "flag", name });
  }
  const config = draft.values as unknown as Config;
  for (const { key, message } of checkConfig(config))
    draft.problems.push({ place: draft.placeOf(key), message: `${key}: ${message}` });
  return { config, origins: draft.origins, problems: draft.problems };
}

/** The environment variable of a setting. */
export function environmentName(key: string): string {
  return `OCID_${key.replace(".", "_").toUpperCase()}`;
}

function wordsOf(setting: Setting, value: string): readonly string[] {
  if (setting.type !== "strings") return [value];
  return value === "" ? [] : value.split(":");
}

/** The configuration while it is put together. */
class Draft {
  readonly values = structuredClone(defaultConfig) as unknown as Record<string, Record<string, unknown>>;
  readonly origins = new Map<string, Origin>();
  readonly problems: Problem[] = [];

  set(name: string, value: unknown, origin: Origin): void {
    const [table = "", ...rest] = name.split(".");
    this.values[table] = { ...this.values[table], [rest.join(".")]: value };
    this.origins.set(name, origin);
  }

  assign(setting: Setting, value: unknown, place: string, origin: Origin): void {
    if (fits(setting, value)) return this.set(setting.key, value, origin);
    const found = JSON.stringify(value);
    this.problems.push({ place, message: `${setting.key}: expected ${wanted(setting)}, found ${found}` });
  }

  placeOf(key: string): string {
    const origin = this.origins.get(key);
    return origin === undefined ? "defaults" : placeOf(origin);
  }
}

/** Where a value comes from, for people. */
export function placeOf(origin: Origin): string {
  switch (origin.kind) {
    case "file":
      return origin.line === undefined ? origin.path : `${origin.path}:${origin.line}`;
    case "environment":
    case "flag":
      return origin.name;
    case "default":
    case "storage.conf":
      return origin.kind;
  }
}

async function applyFile(draft: Draft, file: ConfigFile): Promise<void> {
  const lines = await keyLines(file.text);
  const origin = (name: string): Origin => ({ kind: "file", path: file.path, line: lines.get(name) });
  const complain = (name: string, message: string) =>
    draft.problems.push({ place: placeOf(origin(name)), message });
  for (const [table, entries] of Object.entries(file.tables)) {
    if (!isTable(entries)) complain(table, unknownSetting(table));
    else if (Object.hasOwn(namedTables, table)) {
      for (const [name, entry] of Object.entries(entries)) {
        const full = `${table}.${name}`;
        for (const { key, message } of tableProblems(namedTables[table as NamedTableName], entry))
          complain(key === "" ? full : `${full}.${key}`, `${full}: ${message}`);
        draft.set(full, isTable(entry) ? entry : {}, origin(full));
      }
    } else {
      for (const [key, value] of Object.entries(entries)) {
        const name = `${table}.${key}`;
        const setting = (settings as readonly Setting[]).find(candidate => candidate.key === name);
        if (setting) draft.assign(setting, value, placeOf(origin(name)), origin(name));
        else complain(name, unknownSetting(name));
      }
    }
  }
}

function unknownSetting(name: string): string {
  const known = (settings as readonly Setting[]).map(setting => setting.key);
  const sameKey = known.find(candidate => candidate.split(".")[1] === name.split(".").at(-1));
  const near = nearestName(name, known) ?? sameKey;
  const advice = near === undefined ? "see ocid config --default for all" : `did you mean ${near}?`;
  return `unknown setting ${name} (${advice})`;
}
