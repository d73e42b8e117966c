import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { wrapError } from "@ocid/base";
import { parse } from "smol-toml";

/** Environment variables, as in `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Where files of the distribution and of the administrator lie. */
export interface ConfPlaces {
  readonly vendor: string;
  readonly administrator: string;
}

const systemPlaces: ConfPlaces = { vendor: "/usr/share/containers", administrator: "/etc/containers" };

/**
 * The files that make up storage.conf, later ones over earlier ones. `CONTAINERS_STORAGE_CONF` alone if set, else the
 * first that there is of the user's, the administrator's and the distribution's; upon that the drop-ins of all three
 * (`storage.conf.d`, `storage.rootful.conf.d` …) in the order of their names, of those with the same name the last
 * place's; at last `CONTAINERS_STORAGE_CONF_OVERRIDE`.
 */
export function storageConfFiles(env: Environment, places: ConfPlaces = systemPlaces): readonly string[] {
  const asked = env["CONTAINERS_STORAGE_CONF"];
  const override = env["CONTAINERS_STORAGE_CONF_OVERRIDE"];
  return [...(asked ? [asked] : found(env, places)), ...(override ? [override] : [])];
}

function found(env: Environment, { vendor, administrator }: ConfPlaces): readonly string[] {
  const uid = process.getuid?.() ?? 0;
  // Root's own directory only where it is named: a daemon and a shell would else read different files.
  const configHome = env["XDG_CONFIG_HOME"] || (uid === 0 ? undefined : join(homedir(), ".config"));
  const user = configHome ? [join(configHome, "containers")] : [];
  const main = [...user, administrator, vendor]
    .map(directory => join(directory, "storage.conf"))
    .find(path => existsSync(path));
  const ofUser =
    uid === 0
      ? ["storage.rootful.conf.d"]
      : ["storage.rootless.conf.d", join("storage.rootless.conf.d", String(uid))];
  const directories = [
    ...[vendor, administrator].flatMap(place => ["storage.conf.d", ...ofUser].map(name => join(place, name))),
    ...user.map(place => join(place, "storage.conf.d")),
  ];
  const dropIns = new Map<string, string>();
  for (const directory of directories.filter(path => existsSync(path)))
    for (const entry of readdirSync(directory, { withFileTypes: true }))
      if (entry.isFile() && entry.name.endsWith(".conf"))
        dropIns.set(entry.name, join(directory, entry.name));
  return [...(main ? [main] : []), ...[...dropIns].sort().map(([, path]) => path)];
}

type Table = Readonly<Record<string, unknown>>;

/** All files as one table: tables are merged, what else is in a later file stands for what was in an earlier one. */
export function readStorageConf(files: readonly string[]): Table {
  return files.map(readTable).reduce<Table>(merge, {});
}

function readTable(file: string): Table {
  try {
    return parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw wrapError(`read ${file}`, error, "INVALID_ARGUMENT");
  }
}

function merge(base: Table, over: Table): Table {
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const before = base[key];
    if (Array.isArray(value)) merged[key] = mergeList(Array.isArray(before) ? before : [], value);
    else merged[key] = isTable(before) && isTable(value) ? merge(before, value) : value;
  }
  return merged;
}

/** `["b", {append = true}]` adds to what earlier files list, and so do later files until one says false. */
function mergeList(before: readonly unknown[], list: readonly unknown[]): readonly unknown[] {
  const mark = list.findLast(isTable) ?? before.findLast(isTable);
  const items = mark?.["append"] === true ? [...before, ...list] : list;
  return [...items.filter(item => !isTable(item)), ...(mark ? [mark] : [])];
}

export function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
