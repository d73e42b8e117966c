import {
  closeSync,
  fchmodSync,
  fdatasync,
  fsync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { randomHex } from "./random-hex.ts";

// Only what waits for the disk leaves the event loop: a trip through the thread pool takes longer than the other calls.
const syncFile = promisify(fsync);
const syncData = promisify(fdatasync);

/**
 * Replaces a file so that readers, and a machine that loses power, see the old content or the new and nothing between:
 * written beside it, synced, renamed, and the directory synced. `mode` defaults to 0600.
 */
export async function writeAtomic(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, `.tmp-${randomHex(6)}`);
  try {
    const file = openSync(temporary, "wx", mode);
    try {
      writeFileSync(file, content);
      fchmodSync(file, mode);
      await syncData(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  // Windows opens no directories; there the file system itself orders a rename.
  if (process.platform === "win32") return;
  const parent = openSync(directory, "r");
  try {
    await syncFile(parent);
  } finally {
    closeSync(parent);
  }
}

/** Removes what `writeAtomic` has left in a directory whose owner was killed; for whoever alone writes there, at the start. */
export async function sweepAtomic(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (/^\.tmp-[0-9a-f]{12}$/.test(name)) await rm(join(directory, name), { force: true });
  }
}
