import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import { parse } from "smol-toml";

/** What storage.conf, its environment and the defaults say. */
export interface StorageConf {
  readonly root: string;
  readonly runRoot: string;
  readonly mountOptions: readonly string[];
  /** The file that was read, if any. */
  readonly file: string | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Loads storage.conf (containers-storage.conf(5)): `CONTAINERS_STORAGE_CONF` alone if set, else the first of the
 * system's files; then `STORAGE_DRIVER` and `STORAGE_OPTS`. A driver other than overlay is UNIMPLEMENTED.
 */
export function loadStorageConf(env: Environment = process.env): StorageConf {
  const file = findFile(env);
  const table = file === undefined ? {} : readTable(file);
  const driver = env["STORAGE_DRIVER"] || text(table, "driver") || "overlay";
  if (driver !== "overlay" && driver !== "overlay2")
    throw new OcidError(
      "UNIMPLEMENTED",
      `storage driver ${driver} is not supported (${file ?? "STORAGE_DRIVER"}); set driver = "overlay"`,
    );
  const overlay = section(section(table, "options"), "overlay");
  const options = env["STORAGE_OPTS"] ? fromEnvironment(env["STORAGE_OPTS"]) : overlay;
  const uid = process.getuid?.() ?? 0;
  const defaults =
    uid === 0
      ? { root: "/var/lib/containers/storage", runRoot: "/run/containers/storage" }
      : rootless(env, uid);
  return {
    root: expand(text(table, "graphroot"), env, "graphroot") ?? defaults.root,
    runRoot: expand(text(table, "runroot"), env, "runroot") ?? defaults.runRoot,
    mountOptions: (text(options, "mountopt") ?? "").split(",").filter(Boolean),
    file,
  };
}

function findFile(env: Environment): string | undefined {
  const asked = env["CONTAINERS_STORAGE_CONF"];
  if (asked) return asked;
  const configHome =
    env["XDG_CONFIG_HOME"] || ((process.getuid?.() ?? 0) === 0 ? undefined : join(homedir(), ".config"));
  const candidates = [
    ...(configHome ? [join(configHome, "containers/storage.conf")] : []),
    "/etc/containers/storage.conf",
    "/usr/share/containers/storage.conf",
  ];
  return candidates.find(path => existsSync(path));
}

function readTable(file: string): Record<string, unknown> {
  try {
    return section(parse(readFileSync(file, "utf8")), "storage");
  } catch (error) {
    throw wrapError(`read ${file}`, error, "INVALID_ARGUMENT");
  }
}

function fromEnvironment(list: string): Record<string, unknown> {
  const pairs = list.split(",").map(item => item.split("=", 2) as [string, string?]);
  return Object.fromEntries(pairs.map(([key, value]) => [key.replace(/^overlay2?\./, ""), value ?? ""]));
}

function rootless(env: Environment, uid: number): { readonly root: string; readonly runRoot: string } {
  return {
    root: join(env["XDG_DATA_HOME"] || join(homedir(), ".local/share"), "containers/storage"),
    runRoot: join(env["XDG_RUNTIME_DIR"] || `/run/user/${uid}`, "containers"),
  };
}

function section(table: Record<string, unknown>, key: string): Record<string, unknown> {
  const value = table[key];
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}

function text(table: Record<string, unknown>, key: string): string | undefined {
  const value = table[key];
  return typeof value === "string" && value !== "" ? value : undefined;
}

function expand(path: string | undefined, env: Environment, key: string): string | undefined {
  if (path === undefined) return undefined;
  const expanded = path
    .replaceAll("$UID", String(process.getuid?.() ?? 0))
    .replace(/\$(?:\{(\w+)\}|(\w+))/g, (_, braced, bare) => env[braced ?? bare] ?? "");
  if (!isAbsolute(expanded))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `storage.conf: ${key} should be an absolute path, found ${JSON.stringify(path)}`,
    );
  return expanded;
}
