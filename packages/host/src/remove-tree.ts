import { randomBytes } from "node:crypto";
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
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    if (errnoOf(error) !== "ENAMETOOLONG") throw error;
    await flatten(Buffer.from(path));
    await rm(path, { recursive: true, force: true });
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
