import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import { parse } from "smol-toml";

/** What storage.conf, its environment and the defaults say. */
export interface StorageConf {
  readonly root: string;
  readonly runRoot: string;
  /** `imagestore`: where images and their layers are, apart from containers. */
  readonly imageStore: string | undefined;
  /** `mountopt`, split. */
  readonly mountOptions: readonly string[];
  /** `additionalimagestores`: graph roots that are only read. */
  readonly additionalStores: readonly string[];
  /** The file that was read, if any. */
  readonly file: string | undefined;
}

/** Environment variables, as in `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Options that change how files lie on disk or how they are mounted, in ways that a native overlay mount does not do,
 * and limits that nobody would keep.
 */
const refused = ["mount_program", "force_mask", "use_composefs", "size", "inodes"] as const;

/**
 * Loads storage.conf (containers-storage.conf(5)): `CONTAINERS_STORAGE_CONF` alone if set, else the first of the
 * system's files, never merged; then `STORAGE_DRIVER`, and `STORAGE_OPTS` in place of all options. UNIMPLEMENTED names
 * what would shape the store differently: another driver, `mount_program`, `force_mask`, `use_composefs`;
 * and the quotas `size` and `inodes`.
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
  const options = env["STORAGE_OPTS"] ? fromEnvironment(env["STORAGE_OPTS"]) : fromTable(table);
  const unknown = refused.find(key => options[key] !== undefined && options[key] !== "false");
  if (unknown !== undefined)
    throw new OcidError(
      "UNIMPLEMENTED",
      `storage option ${unknown} is not supported (${env["STORAGE_OPTS"] ? "STORAGE_OPTS" : file}); remove it or use another store`,
    );
  const uid = process.getuid?.() ?? 0;
  const defaults =
    uid === 0
      ? { root: "/var/lib/containers/storage", runRoot: "/run/containers/storage" }
      : rootless(env, uid);
  const root = expand(text(table, "graphroot"), env, "graphroot") ?? defaults.root;
  const imageStore = expand(text(table, "imagestore"), env, "imagestore");
  if (imageStore === root)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `storage.conf: imagestore should be another directory than graphroot ${root}, or not set`,
    );
  return {
    root,
    runRoot: expand(text(table, "runroot"), env, "runroot") ?? defaults.runRoot,
    imageStore,
    mountOptions: list(options.mountopt),
    // The driver's own name for them, which says something else than `imagestore` of [storage].
    additionalStores: [...list(options.additionalimagestores), ...list(options.imagestore)].map(
      path => expand(path, env, "additionalimagestores") ?? path,
    ),
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

type Options = Partial<
  Record<(typeof refused)[number] | "mountopt" | "additionalimagestores" | "imagestore", string>
>;

/** Comma list of `[overlay.]key=value`: stores that are named more than once add up, of other options the last counts. */
function fromEnvironment(text: string): Options {
  const options: Record<string, string> = {};
  for (const piece of text.split(",").filter(Boolean)) {
    const at = piece.indexOf("=");
    if (at === -1)
      throw new OcidError(
        "INVALID_ARGUMENT",
        `STORAGE_OPTS: expected key=value, found ${JSON.stringify(piece)}`,
      );
    const key = piece.slice(0, at).replace(/^overlay2?\./, "");
    const value = piece.slice(at + 1);
    const adds = key === "additionalimagestores" || key === "imagestore";
    options[key] = adds && options[key] ? `${options[key]},${value}` : value;
  }
  return options;
}

/** Options of the overlay driver, each either in its own section or in that of all drivers. */
function fromTable(table: Record<string, unknown>): Options {
  const all = section(table, "options");
  const overlay = section(all, "overlay");
  const pick = (key: string) => {
    const value = overlay[key] ?? all[key];
    return Array.isArray(value) ? value.join(",") : value === undefined ? undefined : String(value);
  };
  const keys = [...refused, "mountopt", "additionalimagestores"] as const;
  return Object.fromEntries(
    keys.flatMap(key => {
      const value = pick(key);
      return value ? [[key, value]] : [];
    }),
  );
}

function list(text: string | undefined): readonly string[] {
  return (text ?? "").split(",").filter(Boolean);
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
