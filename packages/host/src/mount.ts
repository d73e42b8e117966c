import { readFileSync } from "node:fs";
import { Semaphore } from "@ocid/base";
import { errnoName, systemError } from "./errno.ts";
import { atCurrentDirectory, call, callBeside, callRaw, cString, lastErrno, shown } from "./sys.ts";

const flagBits = {
  readonly: 0x1,
  nosuid: 0x2,
  nodev: 0x4,
  noexec: 0x8,
  remount: 0x20,
  noatime: 0x400,
  bind: 0x1000,
  move: 0x2000,
  nodiratime: 0x800,
  recursive: 0x4000,
  unbindable: 0x20000,
  private: 0x40000,
  slave: 0x80000,
  shared: 0x100000,
  relatime: 0x200000,
} as const;

/**
 * What a mount is to do or not to do, by the names that mount(8) has for it.
 * @useDeclaredType
 */
export type MountFlag = keyof typeof flagBits;

export interface MountRequest {
  readonly source?: string;
  readonly target: string;
  readonly fstype?: string;
  readonly flags?: readonly MountFlag[];
  /** Options of the file system, comma separated. */
  readonly data?: string;
}

/** mount(2). Fails with the errno's code, naming the target. */
export function mount(request: MountRequest): void {
  const flags = (request.flags ?? []).reduce((bits, flag) => bits | flagBits[flag], 0);
  const text = (value: string | undefined) => (value === undefined ? null : cString(value));
  call(
    "mount",
    `${request.source ?? "none"} on ${request.target}`,
    cString(request.source ?? "none"),
    cString(request.target),
    text(request.fstype),
    flags,
    text(request.data),
  );
}

/**
 * Unmounts the uppermost mount; false when nothing was mounted there. `lazy` detaches what is busy (MNT_DETACH). Never
 * follows a symlink at the end.
 */
export function unmount(target: string, options: UnmountOptions = {}): boolean {
  if (callRaw("umount2", cString(target), unmountFlags(options)) !== -1) return true;
  const errno = lastErrno();
  const name = errnoName(errno);
  if (name === "EINVAL" || name === "ENOENT" || name === "ENOTDIR") return false;
  throw systemError("umount2", errno, target);
}

/**
 * The same where it may take long: the last mount of an overlay that goes writes everything of the file system below its
 * upper directory to the disk. Runs on a thread of libuv's pool, of which all calls together take no more than one.
 */
export async function unmountInThread(target: string, options: UnmountOptions = {}): Promise<boolean> {
  using _turn = await turns.acquire();
  if ((await callBeside("umount2", cString(target), unmountFlags(options))) !== -1) return true;
  // Why it failed is known to that thread alone, and is the same here, at once.
  return unmount(target, options);
}

const turns = new Semaphore(1);

export interface UnmountOptions {
  readonly lazy?: boolean;
}

/** MNT_DETACH and UMOUNT_NOFOLLOW. */
function unmountFlags({ lazy = false }: UnmountOptions): number {
  return (lazy ? 0x2 : 0) | 0x8;
}

/**
 * Makes `source` appear at `target` too; both are of one kind, directory or file. `recursive` takes along what is
 * mounted below it; `readOnly` then holds for all of it and leaves other flags (nosuid …) as they are.
 */
export function bindMount(
  source: string,
  target: string,
  options: { readonly recursive?: boolean; readonly readOnly?: boolean } = {},
): void {
  mount({ source, target, flags: options.recursive ? ["bind", "recursive"] : ["bind"] });
  if (!options.readOnly) return;
  try {
    makeReadOnly(target, options.recursive ?? false);
  } catch (error) {
    unmount(target, { lazy: true });
    throw error;
  }
}

/** Forbids writing through a mount point (mount_setattr(2), Linux 5.12), and through those below it. */
function makeReadOnly(target: string, recursive: boolean): void {
  const attributes = Buffer.alloc(32);
  attributes.writeBigUInt64LE(1n, 0); // MOUNT_ATTR_RDONLY
  const flags = recursive ? 0x8000 : 0;
  call("mount_setattr", target, atCurrentDirectory, cString(target), flags, attributes, 32);
}

/** Stops mounts from spreading to and from the mount point's peers; `recursive`: those below it too. */
export function makePrivate(target: string, options: { readonly recursive?: boolean } = {}): void {
  mount({ target, flags: options.recursive ? ["private", "recursive"] : ["private"] });
}

/** A line of /proc/self/mountinfo (proc(5)). */
export interface MountEntry {
  readonly id: number;
  readonly parentId: number;
  readonly device: string;
  /** Which directory of the file system is mounted. */
  readonly root: string;
  readonly target: string;
  readonly options: string;
  /** `shared:1`, `master:2` … */
  readonly propagation: readonly string[];
  readonly fstype: string;
  readonly source: string;
  readonly superOptions: string;
}

export function listMounts(): readonly MountEntry[] {
  return parseMountinfo(readFileSync("/proc/self/mountinfo", "utf8"));
}

/** The mount that a path, free of symlinks, lies on; the last of those at the same place covers the others. */
export function mountOf(path: string): MountEntry {
  const below = (target: string) => path === target || path.startsWith(target === "/" ? "/" : `${target}/`);
  return listMounts()
    .filter(({ target }) => below(target))
    .reduce((best, next) => (next.target.length >= best.target.length ? next : best));
}

export function parseMountinfo(text: string): readonly MountEntry[] {
  return text
    .split("\n")
    .filter(line => line !== "")
    .map(line => {
      const [left = "", right = ""] = line.split(" - ");
      const [id, parentId, device = "", root = "", target = "", options = "", ...propagation] =
        left.split(" ");
      const [fstype = "", source = "", superOptions = ""] = right.split(" ");
      return {
        id: Number(id),
        parentId: Number(parentId),
        device,
        root: decodeOctal(root),
        target: decodeOctal(target),
        options,
        propagation,
        fstype,
        source: decodeOctal(source),
        superOptions,
      };
    });
}

function decodeOctal(text: string): string {
  return text.includes("\\")
    ? Buffer.from(
        text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
        "latin1",
      ).toString("utf8")
    : text;
}

/**
 * Whether something is mounted exactly there; the path must be free of symlinks. Asks statx(2) for the path alone, not
 * for the list of all mounts, which grows with the pods.
 */
export function isMountPoint(path: string): boolean {
  const buffer = Buffer.alloc(256);
  if (callRaw("statx", atCurrentDirectory, cString(path), noFollow, 0, buffer) === -1) return false;
  // Kernels before 5.8 do not tell.
  if ((buffer.readBigUInt64LE(56) & mountRoot) === 0n)
    return listMounts().some(entry => entry.target === path);
  return (buffer.readBigUInt64LE(8) & mountRoot) !== 0n;
}

/** AT_SYMLINK_NOFOLLOW and AT_NO_AUTOMOUNT. */
const noFollow = 0x100 | 0x800;
/** STATX_ATTR_MOUNT_ROOT, in the attributes at offset 8 and in the mask of those that are known at 56. */
const mountRoot = 0x2000n;

/** Type, block size, and free space and inodes of the file system that a path is on (statfs(2)). */
export interface FilesystemState {
  readonly type: number;
  readonly blockSize: number;
  readonly blocks: bigint;
  readonly blocksFree: bigint;
  readonly inodes: bigint;
  readonly inodesFree: bigint;
}

export function statFilesystem(path: string | Uint8Array): FilesystemState {
  const buffer = Buffer.alloc(120);
  call("statfs", shown(path), cString(path), buffer);
  return {
    type: Number(buffer.readBigInt64LE(0)),
    blockSize: Number(buffer.readBigInt64LE(8)),
    blocks: buffer.readBigUInt64LE(16),
    blocksFree: buffer.readBigUInt64LE(24),
    inodes: buffer.readBigUInt64LE(40),
    inodesFree: buffer.readBigUInt64LE(48),
  };
}
