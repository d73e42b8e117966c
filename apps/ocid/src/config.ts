import { readFileSync } from "node:fs";
import { isAbsolute } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import { parse, TomlError } from "smol-toml";
import { type Config, defaultConfig, type RuntimeConfig, type Setting, settings } from "./config-schema.ts";

export const defaultConfigFile = "/etc/ocid/ocid.conf";

/** Values of command line flags by their names. */
export type Flags = Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * The effective configuration: defaults, then the file, then the flags. A file that was asked for must exist; the
 * default one may be missing. Every mistake is INVALID_ARGUMENT and names the place. `storage` is what storage.conf
 * says, so that an operator who has configured Podman need not say it again.
 */
export function loadConfig(flags: Flags, storage: Config["storage"] = defaultConfig.storage): Config {
  const asked = flags["config"];
  const file = typeof asked === "string" ? asked : defaultConfigFile;
  const config = structuredClone({ ...defaultConfig, storage }) as unknown as MutableConfig;
  const text = readConfigFile(file, asked !== undefined);
  if (text !== undefined) applyFile(config, parseToml(text, file), file);
  for (const setting of settings as readonly Setting[]) {
    const value = setting.flag === undefined ? undefined : flags[setting.flag];
    if (value !== undefined) assign(config, setting, fromFlag(setting, value), `--${setting.flag}`);
  }
  const effective = config as unknown as Config;
  validate(effective);
  return effective;
}

type MutableConfig = Record<string, Record<string, unknown>>;

function readConfigFile(file: string, mustExist: boolean): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (!mustExist && (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw wrapError(`read the configuration ${file}`, error);
  }
}

function parseToml(text: string, file: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const what = error.message.split("\n", 1)[0];
    throw new OcidError("INVALID_ARGUMENT", `${file}:${error.line}:${error.column}: ${what}`, {
      cause: error,
    });
  }
}

function applyFile(config: MutableConfig, tables: Record<string, unknown>, file: string): void {
  for (const [table, entries] of Object.entries(tables)) {
    if (!isTable(entries)) throw unknownKey(file, table);
    if (table === "runtimes") {
      for (const [name, entry] of Object.entries(entries)) {
        config["runtimes"] = {
          ...config["runtimes"],
          [name]: parseRuntime(entry, `${file}: runtimes.${name}`),
        };
      }
      continue;
    }
    for (const [key, value] of Object.entries(entries)) {
      const setting = (settings as readonly Setting[]).find(candidate => candidate.key === `${table}.${key}`);
      if (!setting) throw unknownKey(file, `${table}.${key}`);
      assign(config, setting, value, `${file}: ${setting.key}`);
    }
  }
}

function parseRuntime(entry: unknown, place: string): RuntimeConfig {
  if (!isTable(entry) || typeof entry["path"] !== "string") {
    throw new OcidError("INVALID_ARGUMENT", `${place}: a runtime needs path = "/path/of/the/runtime"`);
  }
  const { path, root, annotations, ...rest } = entry;
  const unknown = Object.keys(rest)[0];
  if (unknown !== undefined)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${place}: unknown key ${unknown} (known: path, root, annotations)`,
    );
  if (root !== undefined && typeof root !== "string")
    throw new OcidError("INVALID_ARGUMENT", `${place}.root: expected a string`);
  if (annotations !== undefined && !isWords(annotations))
    throw new OcidError("INVALID_ARGUMENT", `${place}.annotations: expected a list of names`);
  return {
    path: path as string,
    ...(root === undefined ? {} : { root }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

function assign(config: MutableConfig, setting: Setting, value: unknown, place: string): void {
  if (!fits(setting, value)) {
    const wanted = setting.choices
      ? `one of ${setting.choices.join(", ")}`
      : `a value of type ${setting.type}`;
    throw new OcidError("INVALID_ARGUMENT", `${place}: expected ${wanted}, found ${JSON.stringify(value)}`);
  }
  const [table = "", key = ""] = setting.key.split(".");
  const target = config[table];
  if (target) target[key] = value;
}

function fits(setting: Setting, value: unknown): boolean {
  if (setting.choices) return typeof value === "string" && setting.choices.includes(value);
  switch (setting.type) {
    case "string":
      return typeof value === "string" && value !== "";
    case "strings":
      return Array.isArray(value) && value.every(item => typeof item === "string" && item !== "");
    case "boolean":
      return typeof value === "boolean";
    case "integer":
      return Number.isInteger(value) && (value as number) >= 0;
  }
}

function fromFlag(setting: Setting, value: string | readonly string[]): unknown {
  if (setting.type === "strings") return typeof value === "string" ? [value] : value;
  const last = typeof value === "string" ? value : value.at(-1);
  if (setting.type === "integer") return /^\d+$/.test(last ?? "") ? Number(last) : last;
  if (setting.type === "boolean") return last === "true" ? true : last === "false" ? false : last;
  return last;
}

function validate(config: Config): void {
  const paths = {
    "storage.root": config.storage.root,
    "storage.runroot": config.storage.runroot,
    "server.listen": config.server.listen,
    "server.state_dir": config.server.state_dir,
    "network.config_dir": config.network.config_dir,
  };
  for (const [key, path] of Object.entries(paths)) {
    if (!isAbsolute(path))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `${key}: expected an absolute path, found ${JSON.stringify(path)}`,
      );
  }
  if (!Object.hasOwn(config.runtimes, config.runtime.default)) {
    const known = Object.keys(config.runtimes).join(", ");
    throw new OcidError(
      "INVALID_ARGUMENT",
      `runtime.default: no [runtimes.${config.runtime.default}] is configured (known: ${known})`,
    );
  }
}

function unknownKey(file: string, key: string): OcidError {
  const known = (settings as readonly Setting[]).map(setting => setting.key);
  const near = known.find(candidate => candidate.split(".")[1] === key.split(".").at(-1));
  const advice = near ? `did you mean ${near}?` : `known: ${known.join(", ")}, runtimes.NAME`;
  return new OcidError("INVALID_ARGUMENT", `${file}: unknown setting ${key} (${advice})`);
}

function isWords(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(item => typeof item === "string" && item !== "");
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
