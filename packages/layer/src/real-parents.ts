import { chmodSync, closeSync, constants, mkdirSync, readlinkSync } from "node:fs";
import { OcidError } from "@ocid/base";
import { errnoOf, openInRoot } from "@ocid/host";
import { onDisk, parentOf } from "./entry-path.ts";
import { show } from "./tar-header.ts";

/**
 * Where entries really go, below a root that nobody else writes to: a parent is either a directory that was made here, or is
 * resolved by the kernel below the root.
 */
export class RealParents {
  readonly #root: string;
  readonly #rootFd: number;
  readonly #umask: number;
  /** Paths known to be real directories, all the way down from the root. */
  readonly #directories = new Set<string>([""]);
  /** Parents that go through a symlink of the archive, and where they lead. */
  readonly #aliases = new Map<string, string>();

  /** `rootFd`: the root, open for as long as this is used. */
  constructor(root: string, rootFd: number, umask: number) {
    this.#root = root;
    this.#rootFd = rootFd;
    this.#umask = umask;
  }

  isDirectory(path: string): boolean {
    return this.#directories.has(path);
  }

  /** A directory was made. */
  add(path: string): void {
    this.#directories.add(path);
  }

  /** Something was taken away: what led through it may lead elsewhere. */
  removed(path: string, wasDirectory: boolean): void {
    if (wasDirectory)
      for (const known of [...this.#directories])
        if (isAtOrBelow(known, path)) this.#directories.delete(known);
    this.#aliases.clear();
  }

  /** The path of an entry whose parent directories exist, and none of them is a symlink any more. */
  resolve(path: string): string {
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
}

export function isAtOrBelow(path: string, above: string): boolean {
  return path === above || path.startsWith(`${above}/`);
}
