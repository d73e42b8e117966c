import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { OcidError } from "@ocid/base";
import type { LayerQuota } from "./layer-quota.ts";
import { parseSize } from "./parse-size.ts";
import {
  type ConfPlaces,
  type Environment,
  isTable,
  readStorageConf,
  storageConfFiles,
} from "./storage-conf-files.ts";

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
  /** `size` and `inodes`: what each container may write. */
  readonly quota: LayerQuota | undefined;
  /** The files that were read, later ones over earlier ones. */
  readonly files: readonly string[];
}

/**
 * Options that change how files lie on disk or how they are mounted, in ways that a native overlay mount does not do.
 */
const refused = ["mount_program", "force_mask", "use_composefs"] as const;

/**
 * Loads storage.conf (containers-storage.conf(5)) with its drop-ins (see `storageConfFiles`); then `STORAGE_DRIVER`,
 * and `STORAGE_OPTS` in place of all options. UNIMPLEMENTED names what would shape the store differently: another
 * driver, `mount_program`, `force_mask`, `use_composefs`. `places` is where the system's files lie.
 */
export function loadStorageConf(env: Environment = process.env, places?: ConfPlaces): StorageConf {
  const files = storageConfFiles(env, places);
  const table = section(readStorageConf(files), "storage");
  const driver = env["STORAGE_DRIVER"] || text(table, "driver") || "overlay";
  if (driver !== "overlay" && driver !== "overlay2")
    throw new OcidError(
      "UNIMPLEMENTED",
      `storage driver ${driver} is not supported (${env["STORAGE_DRIVER"] ? "STORAGE_DRIVER" : files.join(", ")}); set driver = "overlay"`,
    );
  const options = env["STORAGE_OPTS"] ? fromEnvironment(env["STORAGE_OPTS"]) : fromTable(table);
  const unknown = refused.find(key => options[key] !== undefined && options[key] !== "false");
  if (unknown !== undefined)
    throw new OcidError(
      "UNIMPLEMENTED",
      `storage option ${unknown} is not supported (${env["STORAGE_OPTS"] ? "STORAGE_OPTS" : files.join(", ")}); remove it or use another store`,
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
    quota: quotaOf(options),
    files,
  };
}

function quotaOf({ size, inodes }: Options): LayerQuota | undefined {
  const quota = {
    bytes: size === undefined ? 0 : parseSize(size, "size"),
    inodes: inodes === undefined ? 0 : Number(/^\d{1,15}$/.test(inodes) ? inodes : Number.NaN),
  };
  if (Number.isNaN(quota.inodes))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `storage.conf: inodes should be a whole number, found ${JSON.stringify(inodes)}`,
    );
  return quota.bytes + quota.inodes > 0 ? quota : undefined;
}

type Options = Partial<
  Record<
    (typeof refused)[number] | "mountopt" | "additionalimagestores" | "imagestore" | "size" | "inodes",
    string
  >
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
function fromTable(table: Readonly<Record<string, unknown>>): Options {
  const all = section(table, "options");
  const overlay = section(all, "overlay");
  const pick = (key: string) => {
    const value = overlay[key] ?? all[key];
    // What is no text in a list says how it is merged.
    return Array.isArray(value)
      ? value.filter(item => typeof item === "string").join(",")
      : value === undefined
        ? undefined
        : String(value);
  };
  const keys = [...refused, "mountopt", "additionalimagestores", "size", "inodes"] as const;
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

function section(table: Readonly<Record<string, unknown>>, key: string): Readonly<Record<string, unknown>> {
  const value = table[key];
  return isTable(value) ? value : {};
}

function text(table: Readonly<Record<string, unknown>>, key: string): string | undefined {
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
