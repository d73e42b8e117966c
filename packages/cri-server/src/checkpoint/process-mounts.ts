import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { OcidError } from "@ocid/base";
import type { RuntimeMount, RuntimeSpec } from "@ocid/spec";
import { mountpointsMagic, numbersIn, readCriuImage, textIn, type WireMessage } from "./criu-images.ts";
import { plainPath } from "./plain-path.ts";

/** A mount of the checkpointed processes, as criu would make it again (criu, images/mnt.proto). */
interface ProcessMount {
  readonly id: bigint;
  readonly parentId: bigint;
  readonly fstype: bigint;
  readonly path: string;
  readonly readonly: boolean;
  /** By which the runtime says what of the node it is of; undefined where criu mounts a file system itself. */
  readonly externalKey: string | undefined;
  readonly byPlugin: boolean;
}

/** Numbers of criu's by the types of the runtime specification. */
const fstypes: Readonly<Record<string, readonly bigint[]>> = {
  proc: [1n],
  sysfs: [2n],
  tmpfs: [5n],
  devpts: [6n],
  cgroup: [12n, 23n],
  mqueue: [14n],
};
const tmpfs = 5n;
const devpts = 6n;
/** MS_RDONLY (mount(2)). */
const readOnly = 1n;

/**
 * Refuses mounts that the container's configuration does not give, and the want of those that protect the node: criu makes
 * them as the image says, and asks no configuration. PERMISSION_DENIED names the path. A container that may mount anyway
 * (CAP_SYS_ADMIN) has whichever it has. `image` is the content of a `mountpoints-ID.img`, `name` what to call it.
 */
export function refuseMounts(image: Uint8Array, name: string, spec: RuntimeSpec): void {
  if (spec.process.capabilities?.bounding?.includes("CAP_SYS_ADMIN")) return;
  const mounts = readCriuImage(image, mountpointsMagic, name).map(message => processMount(message, name));
  const byPath = new Map(mounts.map(mount => [mount.path, mount]));
  for (const mount of mounts) {
    const wrong = wrongPlace(mount, byPath) ?? wrongMount(mount, spec);
    if (wrong !== undefined || byPath.get(mount.path) !== mount)
      throw refused(`has a mount at ${shown(mount.path)} that ${wrong ?? "is there twice"}`);
  }
  // What this kernel does not show needs no cover.
  for (const path of [...(spec.linux.maskedPaths ?? []), ...(spec.linux.readonlyPaths ?? [])])
    if (!byPath.has(plainPath(path)) && (!/^\/(proc|sys)\//.test(path) || existsSync(path)))
      throw refused(`sees ${shown(path)}, which the container is to see masked or read-only`);
}

function processMount(message: WireMessage, name: string): ProcessMount {
  const number = (field: number) => numbersIn(message, field, name).at(-1) ?? 0n;
  return {
    id: number(2),
    parentId: number(4),
    fstype: number(1),
    path: plainPath(textIn(message, 7, name) ?? ""),
    readonly: ((number(5) | number(17)) & readOnly) !== 0n,
    externalKey: textIn(message, 18, name),
    byPlugin: number(12) !== 0n,
  };
}

/** Each mount lies on the one that its path is in, or it would be hidden, or hide another one. */
function wrongPlace(mount: ProcessMount, byPath: ReadonlyMap<string, ProcessMount>): string | undefined {
  if (mount.path === "/") return undefined;
  let below = dirname(mount.path);
  while (!byPath.has(below) && below !== "/") below = dirname(below);
  return byPath.get(below)?.id === mount.parentId ? undefined : "lies on another one than its path says";
}

function wrongMount(mount: ProcessMount, { mounts = [], linux }: RuntimeSpec): string | undefined {
  const { path, externalKey, fstype } = mount;
  if (mount.byPlugin) return "a plugin of criu's would make";
  if (path === "/") return externalKey === undefined ? undefined : "is no root file system";
  const asked = mounts.findLast(({ destination }) => plainPath(destination) === path);
  if (asked) return wrongKind(mount, asked);
  if (linux.maskedPaths?.some(masked => plainPath(masked) === path))
    return externalKey === "/dev/null" || (fstype === tmpfs && externalKey === undefined && mount.readonly)
      ? undefined
      : "does not mask it";
  if (linux.readonlyPaths?.some(covered => plainPath(covered) === path))
    return externalKey === undefined && mount.readonly ? undefined : "is not read-only";
  if (path === "/dev/console" && externalKey === undefined && fstype === devpts) return undefined;
  return "the container is not given";
}

function wrongKind(
  { fstype, externalKey, readonly, path }: ProcessMount,
  asked: RuntimeMount,
): string | undefined {
  if (asked.options?.includes("ro") && !readonly) return "is to be read-only";
  if (asked.type === "bind" || asked.options?.some(option => option === "bind" || option === "rbind"))
    return externalKey === path
      ? undefined
      : "is not of the node's file or directory that the container is given";
  if (externalKey !== undefined) return "is of the node";
  return fstypes[asked.type ?? ""]?.includes(fstype) ? undefined : `is no ${asked.type}`;
}

function refused(what: string): OcidError {
  return new OcidError("PERMISSION_DENIED", `a process of the checkpoint ${what}`, {
    reason: "PrivilegesRefused",
  });
}

function shown(path: string): string {
  return JSON.stringify(path.slice(0, 200));
}
