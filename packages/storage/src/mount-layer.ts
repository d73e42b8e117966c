import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { type MountFlag, mount, mountOverlay } from "@ocid/host";
import { lowerPaths } from "./layer-directory.ts";

export interface MountLayerRequest {
  readonly id: string;
  readonly target: string;
  readonly readOnly: boolean;
  /** The overlay directory that has the layer, and those in which layers below it may be. */
  readonly home: string;
  readonly overlays: readonly string[];
  /** `mountopt` of storage.conf. */
  readonly options: readonly string[];
  /**
   * Whether nobody but us writes to the layer: then files are copied up whole and renamed directories too, so that its
   * changes can be read from its directory alone. A layer of others is mounted the way they have begun.
   */
  readonly plainChanges: boolean;
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
  mkdirSync(target, { recursive: true, mode: 0o700 });
  const lowers = lowerPaths(request.overlays, home, id);
  const diff = join(directory, "diff");
  const options = request.options.filter(
    option =>
      option !== "" &&
      !(option in mountFlags) &&
      !defaultWords.has(option) &&
      !(request.plainChanges && /^(metacopy|redirect_dir)=/.test(option)),
  );
  if (request.plainChanges) options.push("redirect_dir=off", "metacopy=off");
  if (readOnly) mountOverlay({ lowers: [diff, ...lowers], target, options, readOnly: true });
  else {
    // The kernel refuses a second mount of what a volatile one has left behind.
    rmSync(join(directory, "work", "work", "incompat", "volatile"), { recursive: true, force: true });
    mountOverlay({ lowers, upper: diff, work: join(directory, "work"), target, options });
  }
  const flags = request.options.flatMap(option => mountFlags[option] ?? []);
  if (flags.length > 0)
    mount({ target, flags: ["bind", "remount", ...flags, ...(readOnly ? (["readonly"] as const) : [])] });
}
