import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { idmappedMount, type MountFlag, mount, mountOverlay, unmount } from "@ocid/host";
import { lowerPaths } from "./layer-directory.ts";

export interface MountLayerRequest {
  readonly id: string;
  readonly target: string;
  readonly readOnly: boolean;
  /** The overlay directory that has the layer. */
  readonly home: string;
  /** The store's own overlay directories, and those of additional stores: layers below it may be in any. */
  readonly overlays: readonly string[];
  readonly additional: readonly string[];
  /** `mountopt` of storage.conf. */
  readonly options: readonly string[];
  /**
   * Whether nobody but us writes to the layer: then files are copied up whole and renamed directories too, so that its
   * changes can be read from its directory alone. A layer of others is mounted the way they have begun.
   */
  readonly plainChanges: boolean;
  /** Path of the user namespace whose ids the layers below are seen with; the layer's own files have them already. */
  readonly userNamespace?: string | undefined;
}

const mountFlags: Readonly<Record<string, MountFlag>> = {
  nodev: "nodev",
  nosuid: "nosuid",
  noexec: "noexec",
};
const defaultWords = new Set(["rw", "dev", "suid", "exec", "defaults", "ro"]);

/** Mounts a layer on those below it: with its own content as the writable directory, or read-only as the topmost lower. */
export function mountLayer(request: MountLayerRequest): void {
  const { id, target, home, readOnly } = request;
  const directory = join(home, id);
  if (existsSync(join(directory, "composefs-data")))
    throw new OcidError(
      "UNIMPLEMENTED",
      `layer ${id} is kept as composefs, which is not supported; pull the image into a store without use_composefs`,
    );
  const diff = join(directory, "diff");
  if (!existsSync(diff))
    throw new OcidError("DATA_LOSS", `layer ${id} has lost its directory ${diff}; repair the store`);
  mkdirSync(target, { recursive: true, mode: 0o700 });
  using lowers = mapLowers(request, lowerPaths(request, home, id));
  const options = request.options.filter(
    option =>
      option !== "" &&
      !(option in mountFlags) &&
      !defaultWords.has(option) &&
      !(request.plainChanges && /^(metacopy|redirect_dir)=/.test(option)),
  );
  if (request.plainChanges) options.push("redirect_dir=off", "metacopy=off");
  if (readOnly) mountOverlay({ lowers: [diff, ...lowers.paths], target, options, readOnly: true });
  else {
    // The kernel refuses a second mount of what a volatile one has left behind.
    rmSync(join(directory, "work", "work", "incompat", "volatile"), { recursive: true, force: true });
    mountOverlay({ lowers: lowers.paths, upper: diff, work: join(directory, "work"), target, options });
  }
  const flags = request.options.flatMap(option => mountFlags[option] ?? []);
  if (flags.length > 0)
    mount({ target, flags: ["bind", "remount", ...flags, ...(readOnly ? (["readonly"] as const) : [])] });
}

/**
 * The lower paths, for a user namespace below id-mapped clones of the overlay directories that they lie in. The clones
 * are only needed until the overlay is mounted (§D.2).
 */
function mapLowers(
  { home, id, overlays, additional, userNamespace }: MountLayerRequest,
  paths: readonly string[],
): Disposable & { readonly paths: readonly string[] } {
  const clones = new DisposableStack();
  if (userNamespace === undefined) return { paths, [Symbol.dispose]: () => clones.dispose() };
  const directory = join(home, id, "mapped");
  clones.defer(() => rmSync(directory, { recursive: true, force: true }));
  try {
    let mapped = paths;
    for (const [at, overlay] of [...overlays, ...additional].entries()) {
      if (!paths.some(path => path.startsWith(`${overlay}/`))) continue;
      const target = join(directory, String(at));
      mkdirSync(target, { recursive: true, mode: 0o700 });
      idmappedMount({ source: overlay, target, userNamespace });
      clones.defer(() => unmount(target, { lazy: true }));
      mapped = mapped.map(path =>
        path.startsWith(`${overlay}/`) ? target + path.slice(overlay.length) : path,
      );
    }
    return { paths: mapped, [Symbol.dispose]: () => clones.dispose() };
  } catch (error) {
    clones.dispose();
    throw error;
  }
}
