import { type Dirent, lstatSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { deviceNumbers, getXattr } from "@ocid/host";
import type { CallOptions } from "./store-parts.ts";

/** A path that a container has added, changed or removed, absolute as the container sees it. */
export interface ContainerChange {
  readonly kind: "added" | "changed" | "removed";
  readonly path: string;
}

/**
 * What a writable layer does to the tree below it, sorted by path. A directory that was removed is one change, whatever
 * was in it. `lower`: the tree below, mounted; undefined when there is none. FAILED_PRECONDITION for a layer whose
 * changes lie on the disk in pieces (renamed directories, metadata apart from content).
 */
export async function* containerChanges(
  upper: string,
  lower: string | undefined,
  options: CallOptions = {},
): AsyncGenerator<ContainerChange, void, undefined> {
  yield* walk({ upper, lower, at: "", options });
}

interface Place {
  readonly upper: string;
  readonly lower: string | undefined;
  /** The directory, as the container sees it, without a slash at the end. */
  readonly at: string;
  readonly options: CallOptions;
}

async function* walk({ upper, lower, at, options }: Place): AsyncGenerator<ContainerChange, void, undefined> {
  const here = join(upper, at);
  refusePieces(here, at);
  const above = new Map((await readdir(here, { withFileTypes: true })).map(entry => [entry.name, entry]));
  const isOpaque = getXattr(here, "trusted.overlay.opaque")?.toString() === "y";
  const below = lower === undefined ? [] : await namesIn(join(lower, at));
  const hidden = isOpaque ? below.filter(name => !above.has(name)) : [];
  for (const name of [...above.keys(), ...hidden].sort()) {
    options.signal?.throwIfAborted();
    const path = `${at}/${name}`;
    const entry = above.get(name);
    const wasThere = below.includes(name);
    if (entry === undefined || isWhiteout(join(upper, path), entry)) {
      if (wasThere) yield { kind: "removed", path };
      continue;
    }
    refusePieces(join(upper, path), path);
    if (!wasThere) yield { kind: "added", path };
    else if (!entry.isDirectory() || !sameDirectory(join(upper, path), join(lower!, path)))
      yield { kind: "changed", path };
    if (entry.isDirectory()) yield* walk({ upper, lower: wasThere ? lower : undefined, at: path, options });
  }
}

/** Nothing when it is no directory there. */
async function namesIn(path: string): Promise<readonly string[]> {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ? await readdir(path) : [];
}

function isWhiteout(path: string, entry: Dirent): boolean {
  if (!entry.isCharacterDevice()) return false;
  const { major, minor } = deviceNumbers(lstatSync(path, { bigint: true }).rdev);
  return major === 0 && minor === 0;
}

/** A directory is copied up when something in it changes; that alone is no change of its own. */
function sameDirectory(upper: string, lower: string): boolean {
  const a = lstatSync(upper);
  const b = lstatSync(lower);
  return b.isDirectory() && a.mode === b.mode && a.uid === b.uid && a.gid === b.gid;
}

function refusePieces(path: string, name: string): void {
  for (const key of ["redirect", "metacopy"])
    if (getXattr(path, `trusted.overlay.${key}`) !== undefined)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `${JSON.stringify(name || "/")} was written with overlayfs's ${key}, so the container's changes cannot be read alone; ask the program that made the container`,
      );
}
