import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { isOcidError, OcidError, wrapError } from "@ocid/base";
import { parse, TomlError } from "smol-toml";

export const defaultConfigFile = "/etc/ocid/ocid.conf";

/** A configuration is some hundred bytes; what is larger than this is no configuration. */
const maxBytes = 1024 * 1024;

export interface ConfigFile {
  readonly path: string;
  readonly text: string;
  readonly tables: Readonly<Record<string, unknown>>;
}

/**
 * The configuration file and its drop-ins, `<file>.d/*.conf` by name, in the order in which the later wins. A file
 * that was `asked` for must exist; the default one and the directory of drop-ins may be missing.
 */
export function readConfigFiles(asked: string | undefined): readonly ConfigFile[] {
  const main = asked ?? defaultConfigFile;
  const found = [main, ...dropIns(`${main}.d`)].map(path => readConfigFile(path, path === asked));
  return found.filter(file => file !== undefined);
}

function dropIns(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter(name => name.endsWith(".conf") && !name.startsWith("."))
      .sort()
      .map(name => join(directory, name));
  } catch (error) {
    if (isMissing(error)) return [];
    throw wrapError(`read the configuration's drop-ins ${directory}`, error);
  }
}

function readConfigFile(path: string, mustExist: boolean): ConfigFile | undefined {
  try {
    const { size } = statSync(path);
    if (size > maxBytes)
      throw new OcidError("INVALID_ARGUMENT", `${path}: ${size} bytes are no configuration (1 MiB at most)`);
    const text = readFileSync(path, "utf8");
    return { path, text, tables: parseToml(text, path) };
  } catch (error) {
    if (isOcidError(error)) throw error;
    if (!mustExist && isMissing(error)) return undefined;
    throw wrapError(`read the configuration ${path}`, error);
  }
}

function parseToml(text: string, path: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const what = error.message.split("\n", 1)[0];
    throw new OcidError("INVALID_ARGUMENT", `${path}:${error.line}:${error.column}: ${what}`, {
      cause: error,
    });
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}
