import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { bindMount, isMountPoint, listMounts, makePrivate, unmount, unmountInThread } from "@ocid/host";
import { numberOf, type Row, textOf } from "./go-json.ts";
import { type Layout, placesOf } from "./layout.ts";
import { mountLayer } from "./mount-layer.ts";
import { RecordSet } from "./record-set.ts";
import { type LockContext, takeLayersLock, takeLock } from "./store-lock.ts";

export interface MountsOptions {
  /** `mountopt` of storage.conf. */
  readonly options: readonly string[];
  /** Overlay directories of additional stores, in which layers below ours may be. */
  readonly additional: readonly string[];
  /**
   * The overlay directory of an additional store, to mount its layers: that is done below our run root and counted in
   * a file of our own, because the other programs forget counts of layers that are not in the main store.
   */
  readonly home?: string;
  /** The overlay directory that has a layer of the store; undefined when the store has none. */
  readonly overlayOf: (layerId: string) => string | undefined;
}

/**
 * Mounts layers and counts who uses them, in mountpoints.json, as every program that shares the store does (§H.1):
 * without the count and the private bind mount of the overlay directory another program would take our mounts away or
 * hide them.
 */
export class Mounts {
  readonly #layout: Layout;
  readonly #records: RecordSet;
  readonly #options: MountsOptions;

  constructor(layout: Layout, options: MountsOptions) {
    const records = options.home === undefined ? layout.mountRecords : join(layout.runRoot, "ocid");
    this.#layout = layout;
    this.#records = new RecordSet({
      lock: join(records, "mountpoints.lock"),
      files: [join(records, "mountpoints.json")],
    });
    this.#options = options;
  }

  /** Layers whose directories are not in the graph root are mounted below the run root, as others do (§H.4). */
  pathOf(layerId: string): string {
    const { home, overlayOf } = this.#options;
    const main = this.#layout.overlay;
    return (home ?? overlayOf(layerId) ?? main) === main
      ? join(main, layerId, "merged")
      : join(this.#layout.runRoot, "overlay", layerId, "merged");
  }

  /** How many users of a layer's mount are noted; zero when nothing is mounted there. */
  users(layerId: string): number {
    const count = countOf(this.#find(layerId));
    return count > 0 && isMountPoint(this.pathOf(layerId)) ? count : 0;
  }

  /**
   * Mounts a layer, or counts one more user of it. With `once`, a layer that is mounted already is not counted again:
   * for the one owner that a container's layer has, who may repeat itself. FAILED_PRECONDITION (reason LayerMissing)
   * when another program has removed the layer since the caller looked.
   */
  async mount(
    context: LockContext,
    layerId: string,
    options: {
      readonly readOnly: boolean;
      readonly once?: boolean;
      readonly plainChanges?: boolean;
      readonly userNamespace?: string | undefined;
    },
  ): Promise<string> {
    using _storage = await takeLock(this.#layout.locks.storage, "write", context);
    this.#prepareHome();
    using _layers = await takeLayersLock(this.#layout, "write", context);
    using locked = await this.#records.lock(context);
    const home = this.#options.overlayOf(layerId);
    if (home === undefined)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `layer ${layerId} cannot be mounted: it has been removed from the store meanwhile`,
        { reason: "LayerMissing" },
      );
    const path = this.pathOf(layerId);
    const row = this.#find(layerId);
    // A count without a mount is left from before a reboot or a crash: nobody stands behind it.
    const users = isMountPoint(path) ? countOf(row) : undefined;
    if (users !== undefined && users > 0 && options.once) return path;
    if (users === undefined)
      mountLayer({
        id: layerId,
        target: path,
        readOnly: options.readOnly,
        home,
        overlays: placesOf(this.#layout).map(({ overlay }) => overlay),
        additional: this.#options.additional,
        options: this.#options.options,
        plainChanges: options.plainChanges ?? false,
        userNamespace: options.userNamespace,
      });
    const next: Row = { id: layerId, path, count: (users ?? 0) + 1 };
    try {
      await locked.change(other => (other["id"] === layerId ? next : other), row ? {} : { append: [next] });
    } catch (error) {
      if (users === undefined) unmount(path, { lazy: true });
      throw error;
    }
    return path;
  }

  /** Takes one user away, with `all` every one; the last unmounts. False when nothing was mounted. */
  async unmount(
    context: LockContext,
    layerId: string,
    options: { readonly all?: boolean } = {},
  ): Promise<boolean> {
    if (this.#find(layerId) === undefined && !isMountPoint(this.pathOf(layerId))) return false;
    using _layers = await takeLayersLock(this.#layout, "write", context);
    return await this.unmountLocked(context, layerId, options);
  }

  /** The same for whoever holds the layers' lock already. */
  async unmountLocked(
    context: LockContext,
    layerId: string,
    options: { readonly all?: boolean } = {},
  ): Promise<boolean> {
    using locked = await this.#records.lock(context);
    const row = this.#find(layerId);
    const count = countOf(row);
    const path = this.pathOf(layerId);
    if (count > 1 && !options.all && isMountPoint(path)) {
      await locked.change(other => (other["id"] === layerId ? { ...other, count: count - 1 } : other));
      return true;
    }
    const any = await unmountInThread(path, { lazy: true });
    while (any && unmount(path, { lazy: true }));
    await locked.change(other => (other["id"] === layerId ? undefined : other));
    return any;
  }

  #find(layerId: string): Row | undefined {
    const row = this.#records.find(layerId);
    return row && textOf(row, "path") !== undefined ? row : undefined;
  }

  /** Takes the overlay directory's own mount away when nothing is mounted below it, as every user of the store does when it ends. */
  async releaseHome(context: LockContext): Promise<void> {
    if (!isMountPoint(this.#layout.overlay)) return;
    using lock = await takeLock(this.#layout.locks.storage, "write", context);
    using _layers = await takeLayersLock(this.#layout, "write", context);
    if (this.#records.rows().some((row: Row) => (numberOf(row, "count") ?? 0) > 0)) return;
    if (listMounts().some(entry => entry.target.startsWith(`${this.#layout.overlay}/`))) return;
    lock.touch();
    unmount(this.#layout.overlay, { lazy: true });
  }

  /** Other programs bind the overlay directory on itself and detach it when nothing is mounted: so do we, before the first mount. */
  #prepareHome(): void {
    if (this.#options.home !== undefined) return;
    if (!isMountPoint(this.#layout.overlay)) bindMount(this.#layout.overlay, this.#layout.overlay);
    makePrivate(this.#layout.overlay);
  }
}

function countOf(row: Row | undefined): number {
  return row === undefined ? 0 : (numberOf(row, "count") ?? 0);
}
