import { randomBytes } from "node:crypto";
import { open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";

/**
 * Replaces a file so that readers, and a machine that loses power, see the old content or the new and nothing between:
 * written beside it, synced, renamed, and the directory synced. `mode` defaults to 0600.
 */
export async function writeAtomic(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, `.tmp-${randomBytes(6).toString("hex")}`);
  try {
    const file = await open(temporary, "wx", mode);
    try {
      await file.writeFile(content);
      await file.chmod(mode);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  // Windows opens no directories; there the file system itself orders a rename.
  if (process.platform === "win32") return;
  const parent = await open(directory, "r");
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}

/** Removes what `writeAtomic` has left in a directory whose owner was killed; for whoever alone writes there, at the start. */
export async function sweepAtomic(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (/^\.tmp-[0-9a-f]{12}$/.test(name)) await rm(join(directory, name), { force: true });
  }
}
