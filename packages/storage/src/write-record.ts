import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/**
 * Replaces a file of the store by the same steps as the other programs: `.tmp-NAME…` beside it, fdatasync, 0600,
 * rename. With `lasting`, the rename too outlives a power cut by the time this returns; without, it does once anything
 * later that lasts has been written to the same file system.
 */
export async function writeRecord(
  path: string,
  content: string | Uint8Array,
  options: { readonly lasting: boolean },
): Promise<void> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = join(directory, `.tmp-${basename(path)}${randomBytes(5).toString("hex")}`);
  try {
    const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      await file.writeFile(content);
      await file.chmod(0o600);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  if (options.lasting) await syncPaths([directory]);
}

/** fsync of files and directories, one after the other: the first one writes the journal, the others find it written. */
export async function syncPaths(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const file = await open(path, constants.O_RDONLY);
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }
}
