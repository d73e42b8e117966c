import {
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { OcidError, wrapError } from "@ocid/base";
import { beginWriting, errnoOf, makeNode, setXattr } from "@ocid/host";
import { type DirectoryTimes, EntryMetadata, finishDirectory, setXattrs } from "./entry-metadata.ts";
import { baseOf, entryPath, onDisk, parentOf } from "./entry-path.ts";
import { isAtOrBelow, RealParents } from "./real-parents.ts";
import { SparseContent } from "./sparse-content.ts";
import { show, type TarHeader } from "./tar-header.ts";

const whiteoutPrefix = ".wh.";
const opaqueName = ".wh..wh..opq";
/**
 * A file of so many bytes, and each further part of so many, begins to go to the disk while what follows is unpacked: a
 * pull ends with a sync of everything. Smaller files are left to that sync, which writes neighbours together.
 */
const writtenEarlyBytes = 1024 * 1024;
const writtenAtOnceBytes = 8 * 1024 * 1024;

interface OpenFile {
  readonly fd: number;
  readonly header: TarHeader;
  readonly path: string | Buffer;
  readonly sparse: SparseContent | undefined;
  /** Bytes; and up to where they are on their way to the disk. */
  written: number;
  begun: number;
}

/**
 * Writes a layer's entries into a fresh directory that nobody else writes to, whiteouts in overlayfs's form. No entry
 * reaches outside (see `RealParents`).
 */
export class Extractor {
  readonly #root: string;
  readonly #rootFd: number;
  readonly #metadata = new EntryMetadata();
  readonly #parents: RealParents;
  readonly #directoryTimes = new Map<string, DirectoryTimes>();
  #file: OpenFile | undefined;

  constructor(root: string) {
    this.#root = root;
    this.#rootFd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    this.#parents = new RealParents(root, this.#rootFd, this.#metadata.umask);
  }

  /** Makes the entry at its cleaned path; content of a file follows through `content` and `endEntry`. */
  entry(header: TarHeader, path: string): void {
    try {
      this.#make(header, this.#parents.resolve(path));
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
      this.#metadata.ofFile(fd, header, file.path);
      if (file.written - file.begun >= writtenEarlyBytes) beginWriting(fd, file.begun, 0);
    } catch (error) {
      throw wrapError(`archive entry ${show(header.name)}`, error);
    } finally {
      closeSync(fd);
    }
  }

  /** Sets what can only be set at the end. */
  finish(): void {
    for (const [path, header] of this.#directoryTimes) finishDirectory(onDisk(this.#root, path), header);
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
        return this.#metadata.ofOther(target, header);
      case "hardlink":
        return this.#hardlink(header, path, target);
      case "fifo":
        this.#place(path, target, () => makeNode(target, 0o010000 | header.mode));
        return this.#metadata.ofOther(target, header);
      case "character":
      case "block": {
        const kind = header.type === "character" ? 0o020000 : 0o060000;
        this.#place(path, target, () => makeNode(target, kind | header.mode, header.major, header.minor));
        return this.#metadata.ofOther(target, header);
      }
    }
  }

  #directory(header: TarHeader, path: string, target: string | Buffer): void {
    let isNew = false;
    if (!this.#parents.isDirectory(path)) {
      const made = this.#place(path, target, () => mkdirNow(target, header.mode & 0o777), "directory");
      isNew = made !== undefined;
      this.#parents.add(path);
    }
    this.#metadata.ofDirectory(target, header, isNew);
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
    const source = onDisk(this.#root, this.#parents.resolve(entryPath(header.linkName)));
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
    this.#metadata.ofWhiteout(target, header);
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
      for (const known of [...this.#directoryTimes.keys()])
        if (isAtOrBelow(known, path)) this.#directoryTimes.delete(known);
    } else unlinkSync(target);
    this.#parents.removed(path, isDirectory);
    return make() as never;
  }
}

/** Says that it was not there before. */
function mkdirNow(target: string | Buffer, mode: number): true {
  mkdirSync(target, mode);
  return true;
}

function writeAll(fd: number, bytes: Uint8Array, position?: number): void {
  for (let at = 0; at < bytes.byteLength; )
    at += writeSync(fd, bytes, at, bytes.byteLength - at, position === undefined ? null : position + at);
}
