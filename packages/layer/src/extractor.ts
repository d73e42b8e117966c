import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  futimesSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { OcidError, wrapError } from "@ocid/base";
import { beginWriting, errnoOf, makeNode, openInRoot, setTimes, setTimesFd, setXattr } from "@ocid/host";
import { baseOf, entryPath, onDisk, parentOf } from "./entry-path.ts";
import { SparseContent } from "./sparse-content.ts";
import { show, type TarHeader } from "./tar-header.ts";

const whiteoutPrefix = ".wh.";
const opaqueName = ".wh..wh..opq";
const second = 1_000_000_000n;
/**
 * A file of so many bytes, and each further part of so many, begins to go to the disk while what follows is unpacked: a
 * pull ends with a sync of everything. Smaller files are left to that sync, which writes neighbours together.
 */
const writtenEarlyBytes = 1024 * 1024;
const writtenAtOnceBytes = 8 * 1024 * 1024;
/** What is made in a directory with it gets that directory's group, and directories the bit itself. */
const setGroupId = 0o2000;

/**
 * Writes a layer's entries into a fresh directory that nobody else writes to, whiteouts in overlayfs's form. No entry
 * reaches outside: a parent is either a directory that was made here, or is resolved by the kernel below the root.
 */
export class Extractor {
  readonly #root: string;
  readonly #rootFd: number;
  readonly #umask = process.umask();
  readonly #uid = process.geteuid?.() ?? 0;
  readonly #gid = process.getegid?.() ?? 0;
  /** Paths known to be real directories, all the way down from the root. */
  readonly #directories = new Set<string>([""]);
  /** Parents that go through a symlink of the archive, and where they lead. */
  readonly #aliases = new Map<string, string>();
  /** Set when all is there: making entries changes their directories' times, and set-group-id would change the entries. */
  readonly #directoryTimes = new Map<string, Pick<TarHeader, "mode" | "mtimeNs" | "atimeNs">>();
  #file:
    | {
        readonly fd: number;
        readonly header: TarHeader;
        readonly path: string | Buffer;
        readonly sparse: SparseContent | undefined;
        /** Bytes; and up to where they are on their way to the disk. */
        written: number;
        begun: number;
      }
    | undefined;

  constructor(root: string) {
    this.#root = root;
    this.#rootFd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  }

  /** Makes the entry at its cleaned path; content of a file follows through `content` and `endEntry`. */
  entry(header: TarHeader, path: string): void {
    try {
      this.#make(header, this.#resolve(path));
    } catch (error) {
      throw wrapError(`archive entry ${show(header.name)}`, error);
    }
  }

  content(bytes: Uint8Array): void {
    const file = this.#file;
    if (!file) return;
    try {
      if (file.sparse) file.sparse.add(bytes);
      else {
        writeAll(file.fd, bytes);
        file.written += bytes.byteLength;
        if (file.written - file.begun >= writtenAtOnceBytes) {
          beginWriting(file.fd, file.begun, file.written - file.begun);
          file.begun = file.written;
        }
      }
    } catch (error) {
      throw wrapError(`archive entry ${show(file.header.name)}`, error);
    }
  }

  endEntry(): void {
    const file = this.#file;
    if (!file) return;
    this.#file = undefined;
    const { fd, header } = file;
    try {
      if (header.sparse) {
        file.sparse?.end();
        ftruncateSync(fd, header.sparse.size);
      }
      if (this.#ownedByOther(header)) fchownSync(fd, header.uid, header.gid);
      // After the owner, because a change of owner takes set-id bits away.
      if (this.#needsChmod(header)) fchmodSync(fd, header.mode);
      const atimeNs = accessTime(header);
      if (inWholeSeconds(header.mtimeNs) && inWholeSeconds(atimeNs))
        futimesSync(fd, Number(atimeNs / second), Number(header.mtimeNs / second));
      else setTimesFd(fd, atimeNs, header.mtimeNs);
      setXattrs(file.path, header);
      if (file.written - file.begun >= writtenEarlyBytes) beginWriting(fd, file.begun, 0);
    } catch (error) {
      throw wrapError(`archive entry ${show(header.name)}`, error);
    } finally {
      closeSync(fd);
    }
  }

  /** Sets what can only be set at the end. */
  finish(): void {
    for (const [path, header] of this.#directoryTimes) {
      const target = onDisk(this.#root, path);
      if (header.mode & setGroupId) chmodSync(target, header.mode);
      const atimeNs = accessTime(header);
      if (inWholeSeconds(header.mtimeNs) && inWholeSeconds(atimeNs))
        utimesSync(target, Number(atimeNs / second), Number(header.mtimeNs / second));
      else setTimes(target, atimeNs, header.mtimeNs);
    }
  }

  close(): void {
    if (this.#file) closeSync(this.#file.fd);
    this.#file = undefined;
    closeSync(this.#rootFd);
  }

  #make(header: TarHeader, path: string): void {
    const name = baseOf(path);
    if (name.startsWith(whiteoutPrefix)) return this.#whiteout(header, path, name);
    if (path === "") {
      // The root is the store's: its mode comes from the layer below.
      if (header.type !== "directory")
        throw new OcidError("INVALID_ARGUMENT", "the root of an archive can only be a directory");
      return setXattrs(this.#root, header);
    }
    const target = onDisk(this.#root, path);
    switch (header.type) {
      case "directory":
        return this.#directory(header, path, target);
      case "file":
        return this.#openFile(header, path, target);
      case "symlink":
        this.#place(path, target, () => symlinkSync(header.linkName, target));
        return this.#metadata(header, target, true);
      case "hardlink":
        return this.#hardlink(header, path, target);
      case "fifo":
        this.#place(path, target, () => makeNode(target, 0o010000 | header.mode));
        return this.#metadata(header, target, false);
      case "character":
      case "block": {
        const kind = header.type === "character" ? 0o020000 : 0o060000;
        this.#place(path, target, () => makeNode(target, kind | header.mode, header.major, header.minor));
        return this.#metadata(header, target, false);
      }
    }
  }

  #directory(header: TarHeader, path: string, target: string | Buffer): void {
    let asMade = false;
    if (!this.#directories.has(path)) {
      const made = this.#place(path, target, () => mkdirNow(target, header.mode & 0o777), "directory");
      asMade = made !== undefined && (header.mode & (this.#umask | 0o5000)) === 0;
      this.#directories.add(path);
    }
    if (this.#ownedByOther(header)) chownSync(target, header.uid, header.gid);
    if (!asMade) chmodSync(target, header.mode & ~setGroupId);
    setXattrs(target, header);
    const { mode, mtimeNs, atimeNs } = header;
    this.#directoryTimes.set(path, { mode, mtimeNs, atimeNs });
  }

  #openFile(header: TarHeader, path: string, target: string | Buffer): void {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const fd = this.#place(path, target, () => openSync(target, flags, header.mode & 0o777));
    const sparse =
      header.sparse && new SparseContent(header.sparse, (bytes, position) => writeAll(fd, bytes, position));
    this.#file = { fd, header, path: target, sparse, written: 0, begun: 0 };
  }

  #hardlink(header: TarHeader, path: string, target: string | Buffer): void {
    const source = onDisk(this.#root, this.#resolve(entryPath(header.linkName)));
    try {
      if (lstatSync(source).isDirectory())
        throw new OcidError("INVALID_ARGUMENT", `is a hard link to the directory ${show(header.linkName)}`);
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") throw error;
      throw new OcidError(
        "INVALID_ARGUMENT",
        `is a hard link to ${show(header.linkName)}, which the layer does not have`,
        { cause: error },
      );
    }
    this.#place(path, target, () => linkSync(source, target));
  }

  /** `.wh.NAME` hides NAME of the layers below; `.wh..wh..opq` hides all that they have in this directory. */
  #whiteout(header: TarHeader, path: string, name: string): void {
    const parent = parentOf(path);
    if (name === opaqueName)
      return setXattr(onDisk(this.#root, parent), "trusted.overlay.opaque", Buffer.from("y"));
    if (name.startsWith(".wh..wh.")) return;
    const hidden = name.slice(whiteoutPrefix.length);
    if (hidden === "" || hidden === "." || hidden === "..")
      throw new OcidError("INVALID_ARGUMENT", "is a whiteout of no file", { reason: "PathEscape" });
    const prefix = path.slice(0, path.length - name.length);
    const target = onDisk(this.#root, prefix + hidden);
    try {
      makeNode(target, 0o020000, 0, 0);
    } catch (error) {
      // What the same layer brings under that name counts more than that it hides what was below.
      if (errnoOf(error) === "EEXIST") return;
      throw error;
    }
    if (this.#ownedByOther(header)) lchownSync(target, header.uid, header.gid);
  }

  /** Where an entry really goes: its parent directories exist, and none of them is a symlink any more. */
  #resolve(path: string): string {
    const parent = parentOf(path);
    if (this.#directories.has(parent)) return path;
    const real = this.#aliases.get(parent) ?? this.#resolveParent(parent);
    const name = path.slice(parent.length === 0 ? 0 : parent.length + 1);
    return real === "" ? name : `${real}/${name}`;
  }

  #resolveParent(parent: string): string {
    const above = parentOf(parent);
    const real = this.#directories.has(above)
      ? above
      : (this.#aliases.get(above) ?? this.#resolveParent(above));
    const name = parent.slice(above.length === 0 ? 0 : above.length + 1);
    const path = real === "" ? name : `${real}/${name}`;
    if (this.#directories.has(path)) {
      this.#aliases.set(parent, path);
      return path;
    }
    const target = onDisk(this.#root, path);
    try {
      mkdirSync(target, 0o755);
      if (this.#umask & 0o755) chmodSync(target, 0o755);
      this.#directories.add(path);
      if (path !== parent) this.#aliases.set(parent, path);
      return path;
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
    }
    const followed = this.#follow(path);
    this.#aliases.set(parent, followed);
    return followed;
  }

  /** The directory that a symlink of this archive leads to, as the kernel finds it without leaving the root. */
  #follow(path: string): string {
    let fd: number;
    try {
      fd = openInRoot(
        this.#rootFd,
        path.startsWith("\udfff") ? Buffer.from(path.slice(1), "latin1") : path,
        constants.O_RDONLY | constants.O_DIRECTORY,
      );
    } catch (error) {
      throw new OcidError("INVALID_ARGUMENT", `its parent ${show(path)} is no directory of the layer`, {
        cause: error,
      });
    }
    try {
      const real = readlinkSync(`/proc/self/fd/${fd}`);
      if (real === this.#root) return "";
      if (!real.startsWith(`${this.#root}/`))
        throw new OcidError("INVALID_ARGUMENT", `its parent ${show(path)} leads out of the layer`, {
          reason: "PathEscape",
        });
      const inside = real.slice(this.#root.length + 1);
      this.#directories.add(inside);
      return inside;
    } finally {
      closeSync(fd);
    }
  }

  /** Makes something at a path, taking away what another entry has put there by another name. */
  #place<T>(
    path: string,
    target: string | Buffer,
    make: () => T,
    kind: "directory" | "other" = "other",
  ): T | undefined extends T ? T | undefined : T {
    try {
      return make() as never;
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
    }
    const isDirectory = lstatSync(target).isDirectory();
    if (kind === "directory" && isDirectory) return undefined as never;
    if (isDirectory) {
      rmSync(target, { recursive: true });
      for (const known of [...this.#directories])
        if (known === path || known.startsWith(`${path}/`)) this.#directories.delete(known);
      for (const known of [...this.#directoryTimes.keys()])
        if (known === path || known.startsWith(`${path}/`)) this.#directoryTimes.delete(known);
    } else unlinkSync(target);
    this.#aliases.clear();
    return make() as never;
  }

  #metadata(header: TarHeader, target: string | Buffer, isSymlink: boolean): void {
    if (this.#ownedByOther(header)) lchownSync(target, header.uid, header.gid);
    if (!isSymlink && this.#needsChmod(header)) chmodSync(target, header.mode);
    const atimeNs = accessTime(header);
    if (inWholeSeconds(header.mtimeNs) && inWholeSeconds(atimeNs))
      lutimesSync(target, Number(atimeNs / second), Number(header.mtimeNs / second));
    else setTimes(target, atimeNs, header.mtimeNs);
    setXattrs(target, header);
  }

  #ownedByOther(header: TarHeader): boolean {
    return header.uid !== this.#uid || header.gid !== this.#gid;
  }

  #needsChmod(header: TarHeader): boolean {
    return (header.mode & (this.#umask | 0o7000)) !== 0;
  }
}

/** Says that it was not there before. */
function mkdirNow(target: string | Buffer, mode: number): true {
  mkdirSync(target, mode);
  return true;
}

/** Whether Node sets a time as it is: those before 1970 it takes for now. */
function inWholeSeconds(ns: bigint): boolean {
  return ns >= 0n && ns % second === 0n;
}

/** Access time is not before modification time, as in other tools. */
function accessTime(header: Pick<TarHeader, "mtimeNs" | "atimeNs">): bigint {
  return header.atimeNs !== undefined && header.atimeNs > header.mtimeNs ? header.atimeNs : header.mtimeNs;
}

function setXattrs(target: string | Buffer, header: TarHeader): void {
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

function writeAll(fd: number, bytes: Uint8Array, position?: number): void {
  for (let at = 0; at < bytes.byteLength; )
    at += writeSync(fd, bytes, at, bytes.byteLength - at, position === undefined ? null : position + at);
}
