import { randomBytes } from "node:crypto";
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { readdir, rename, rm } from "node:fs/promises";
import { errnoOf } from "./errno.ts";

/** Well below PATH_MAX (4096), with the names that come after it. */
const deepBytes = 2048;
const slash = Buffer.from("/");

/**
 * Removes a path with all that is below it; what is not there is no error. Also a tree that is deeper than a path can
 * say: whoever may change directory can make one, step by step. Nobody else should use the tree meanwhile.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    if (isSmall(path)) rmSync(path, { recursive: true, force: true });
    else await rm(path, { recursive: true, force: true });
  } catch (error) {
    if (errnoOf(error) !== "ENAMETOOLONG") throw error;
    await flatten(Buffer.from(path));
    await rm(path, { recursive: true, force: true });
  }
}

/** A trip through the thread pool for each of these would take longer than to remove them at once. */
const smallEntries = 64;
/** File systems take their time for what is large. */
const smallBytes = 4 * 1024 * 1024;

/** False too for what cannot be looked at, or is no directory. */
function isSmall(top: string): boolean {
  const pending = [Buffer.from(top)];
  let count = 0;
  let bytes = 0;
  try {
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      const entries = readdirSync(path, { encoding: "buffer", withFileTypes: true });
      count += entries.length;
      if (count > smallEntries) return false;
      for (const entry of entries) {
        const child = Buffer.concat([path, slash, entry.name]);
        if (entry.isDirectory()) pending.push(child);
        else bytes += lstatSync(child).size;
      }
      if (bytes > smallBytes) return false;
    }
    return true;
  } catch {
    return false;
  }
}

/** Moves directories that lie deep up to the top. */
async function flatten(top: Buffer): Promise<void> {
  const pending = [top];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    for (const entry of await readdir(path, { encoding: "buffer", withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      let child = Buffer.concat([path, slash, entry.name]);
      if (child.byteLength > top.byteLength + deepBytes) {
        const raised = Buffer.concat([top, Buffer.from(`/.raised-${randomBytes(16).toString("hex")}`)]);
        await rename(child, raised);
        child = raised;
      }
      pending.push(child);
    }
  }
}
