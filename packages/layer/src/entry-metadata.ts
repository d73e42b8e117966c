import {
  chmodSync,
  chownSync,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  lutimesSync,
  utimesSync,
} from "node:fs";
import { errnoOf, setTimes, setTimesFd, setXattr } from "@ocid/host";
import type { TarHeader } from "./tar-header.ts";

const second = 1_000_000_000n;
/** What is made in a directory with it gets that directory's group, and directories the bit itself. */
const setGroupId = 0o2000;

/** Gives entries their owner, mode, times and extended attributes; what the kernel has given right is not set again. */
export class EntryMetadata {
  readonly umask: number = process.umask();
  readonly #uid = process.geteuid?.() ?? 0;
  readonly #gid = process.getegid?.() ?? 0;

  /** Of a file that is open, once its content is there. */
  ofFile(fd: number, header: TarHeader, path: string | Buffer): void {
    if (this.#ownedByOther(header)) fchownSync(fd, header.uid, header.gid);
    // After the owner, because a change of owner takes set-id bits away.
    if (this.#needsChmod(header)) fchmodSync(fd, header.mode);
    setEntryTimes(fd, header, futimesSync, setTimesFd);
    setXattrs(path, header);
  }

  /** Of a symlink, a fifo or a device. */
  ofOther(target: string | Buffer, header: TarHeader): void {
    if (this.#ownedByOther(header)) lchownSync(target, header.uid, header.gid);
    if (header.type !== "symlink" && this.#needsChmod(header)) chmodSync(target, header.mode);
    setEntryTimes(target, header, lutimesSync, setTimes);
    setXattrs(target, header);
  }

  /** Of a whiteout, which has an owner and nothing else. */
  ofWhiteout(target: string | Buffer, header: TarHeader): void {
    if (this.#ownedByOther(header)) lchownSync(target, header.uid, header.gid);
  }

  /** Of a directory, but for what `finishDirectory` sets; `isNew`: it was made with the header's mode. */
  ofDirectory(target: string | Buffer, header: TarHeader, isNew: boolean): void {
    if (this.#ownedByOther(header)) chownSync(target, header.uid, header.gid);
    const asMade = isNew && (header.mode & (this.umask | 0o5000)) === 0;
    if (!asMade) chmodSync(target, header.mode & ~setGroupId);
    setXattrs(target, header);
  }

  #ownedByOther(header: TarHeader): boolean {
    return header.uid !== this.#uid || header.gid !== this.#gid;
  }

  #needsChmod(header: TarHeader): boolean {
    return (header.mode & (this.umask | 0o7000)) !== 0;
  }
}

/** What `finishDirectory` needs to know of a directory. */
export type DirectoryTimes = Pick<TarHeader, "mode" | "mtimeNs" | "atimeNs">;

/** Sets what can only be set when all is there: making entries changes their directories' times, and set-group-id would change the entries. */
export function finishDirectory(target: string | Buffer, header: DirectoryTimes): void {
  if (header.mode & setGroupId) chmodSync(target, header.mode);
  setEntryTimes(target, header, utimesSync, setTimes);
}

export function setXattrs(target: string | Buffer, header: TarHeader): void {
  for (const [name, value] of header.xattrs) {
    // The label is the machine's to give, and overlayfs's own attributes are not an image's to set.
    if (
      name === "security.selinux" ||
      name.startsWith("trusted.overlay.") ||
      name.startsWith("user.overlay.")
    )
      continue;
    try {
      setXattr(target, name, value);
    } catch (error) {
      if (errnoOf(error) !== "EOPNOTSUPP") throw error;
    }
  }
}

/** By Node's call where it sets times as they are, which takes less; access time is not before modification time, as in other tools. */
function setEntryTimes<Target>(
  target: Target,
  { mtimeNs, atimeNs }: Pick<TarHeader, "mtimeNs" | "atimeNs">,
  inSeconds: (target: Target, atime: number, mtime: number) => void,
  inNanoseconds: (target: Target, atimeNs: bigint, mtimeNs: bigint) => void,
): void {
  const accessNs = atimeNs !== undefined && atimeNs > mtimeNs ? atimeNs : mtimeNs;
  if (inWholeSeconds(mtimeNs) && inWholeSeconds(accessNs))
    inSeconds(target, Number(accessNs / second), Number(mtimeNs / second));
  else inNanoseconds(target, accessNs, mtimeNs);
}

/** Whether Node sets a time as it is: those before 1970 it takes for now. */
function inWholeSeconds(ns: bigint): boolean {
  return ns >= 0n && ns % second === 0n;
}
