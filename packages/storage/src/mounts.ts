import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { bindMount, isMountPoint, listMounts, makePrivate, mountOverlay, unmount } from "@ocid/host";
import { numberOf, type Row, textOf } from "./go-json.ts";
import { lowerPaths } from "./layer-directory.ts";
import type { Layout } from "./layout.ts";
import { RecordFile } from "./record-file.ts";
import { type LockContext, takeLock } from "./store-lock.ts";

const flagOptions = new Set(["ro", "rw", "nodev", "dev", "nosuid", "suid", "noexec", "exec"]);

/**
 * Mounts layers and counts who uses them, in mountpoints.json, as every program that shares the store does: without the
 * count and the private bind mount of the overlay directory another program would take our mounts away or hide them.
 */
export class Mounts {
  readonly #layout: Layout;
  readonly #file: RecordFile;
  readonly #options: readonly string[];

  /** `mountOptions`: overlay's mountopt of storage.conf. */
  constructor(layout: Layout, mountOptions: readonly string[]) {
    this.#layout = layout;
    this.#file = new RecordFile(join(layout.mountRecords, "mountpoints.json"));
    this.#options = mountOptions.filter(
      option => option !== "" && !flagOptions.has(option) && !option.startsWith("metacopy="),
    );
  }

  pathOf(layerId: string): string {
    return join(this.#layout.overlay, layerId, "merged");
  }

  /** How many users of a layer's mount are noted. */
  count(layerId: string): number {
    const row = this.#file.read().find(candidate => candidate["id"] === layerId);
    return row === undefined ? 0 : (numberOf(row, "count") ?? 0);
  }

  /**
   * Mounts a layer, or counts one more user of it. With `once`, a layer that is mounted already is not counted again:
   * for the one owner that a container's layer has, who may repeat itself.
   */
  async mount(
    context: LockContext,
    layerId: string,
    options: { readonly readOnly: boolean; readonly once?: boolean },
  ): Promise<string> {
    using _storage = await takeLock(this.#layout.locks.storage, "write", context);
    this.#prepareHome();
    using _layers = await takeLock(this.#layout.locks.layers, "write", context);
    using lock = await takeLock(this.#layout.locks.mountpoints, "write", context);
    const path = this.pathOf(layerId);
    const row = this.#file.read().find(candidate => candidate["id"] === layerId);
    const count = row === undefined ? 0 : (numberOf(row, "count") ?? 0);
    const mounted = isMountPoint(path);
    if (mounted && count > 0 && options.once) return path;
    if (!mounted) this.#mountNow(layerId, path, options.readOnly);
    const next = { id: layerId, path, count: mounted || count === 0 || !options.once ? count + 1 : count };
    lock.touch();
    this.#file.write([...this.#file.read().filter(other => other["id"] !== layerId), next]);
    return path;
  }

  /** Takes one user away, with `all` every one; the last unmounts. False when nothing was mounted. */
  async unmount(
    context: LockContext,
    layerId: string,
    options: { readonly all?: boolean } = {},
  ): Promise<boolean> {
    if (this.count(layerId) === 0 && !isMountPoint(this.pathOf(layerId))) return false;
    using _layers = await takeLock(this.#layout.locks.layers, "write", context);
    return await this.unmountLocked(context, layerId, options);
  }

  /** The same for whoever holds the layers' lock already. */
  async unmountLocked(
    context: LockContext,
    layerId: string,
    options: { readonly all?: boolean } = {},
  ): Promise<boolean> {
    using lock = await takeLock(this.#layout.locks.mountpoints, "write", context);
    const row = this.#file.read().find(candidate => candidate["id"] === layerId);
    const count = row === undefined ? 0 : (numberOf(row, "count") ?? 0);
    const path = (row && textOf(row, "path")) ?? this.pathOf(layerId);
    if (count > 1 && !options.all) {
      lock.touch();
      this.#file.write(
        this.#file
          .read()
          .map((other): Row => (other["id"] === layerId ? { ...other, count: count - 1 } : other)),
      );
      return true;
    }
    let any = false;
    while (unmount(path, { lazy: true })) any = true;
    if (row !== undefined) {
      lock.touch();
      this.#file.write(this.#file.read().filter(other => other["id"] !== layerId));
    }
    return any;
  }

  /** Takes the overlay directory's own mount away when nothing is mounted below it, as every user of the store does when it ends. */
  async releaseHome(context: LockContext): Promise<void> {
    if (!isMountPoint(this.#layout.overlay)) return;
    using lock = await takeLock(this.#layout.locks.storage, "write", context);
    using _layers = await takeLock(this.#layout.locks.layers, "write", context);
    if (this.#file.read().some(row => (numberOf(row, "count") ?? 0) > 0)) return;
    if (listMounts().some(entry => entry.target.startsWith(`${this.#layout.overlay}/`))) return;
    lock.touch();
    unmount(this.#layout.overlay, { lazy: true });
  }

  /** Other programs bind the overlay directory on itself and detach it when nothing is mounted: so do we, before the first mount. */
  #prepareHome(): void {
    if (!isMountPoint(this.#layout.overlay)) bindMount(this.#layout.overlay, this.#layout.overlay);
    makePrivate(this.#layout.overlay);
  }

  #mountNow(layerId: string, path: string, readOnly: boolean): void {
    const directory = join(this.#layout.overlay, layerId);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const lowers = lowerPaths(this.#layout, layerId);
    const diff = join(directory, "diff");
    if (readOnly) {
      mountOverlay({ lowers: [diff, ...lowers], target: path, options: this.#options, readOnly: true });
      return;
    }
    // The kernel refuses a second mount of what a volatile one has left behind.
    const incompatible = join(directory, "work", "work", "incompat", "volatile");
    if (existsSync(incompatible)) rmSync(incompatible, { recursive: true, force: true });
    mountOverlay({
      lowers,
      upper: diff,
      work: join(directory, "work"),
      target: path,
      options: this.#options,
    });
  }
}
