import {
  closeSync,
  constants,
  fchmodSync,
  fdatasync,
  fsync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { randomHex } from "@ocid/base";
import { statFilesystem } from "@ocid/host";

// Only what waits for the disk leaves the event loop: a trip through the thread pool takes longer than the other calls.
const syncFile = promisify(fsync);
const syncData = promisify(fdatasync);

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
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const lasts = canLast(directory);
  const temporary = join(directory, `.tmp-${basename(path)}${randomHex(5)}`);
  try {
    const fd = openSync(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      const bytes = typeof content === "string" ? Buffer.from(content) : content;
      for (let at = 0; at < bytes.byteLength; ) at += writeSync(fd, bytes, at);
      fchmodSync(fd, 0o600);
      if (lasts) await syncData(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  if (lasts && options.lasting) await syncPaths([directory]);
}

/** False on a tmpfs, where the run root usually is: nothing there outlives the machine. */
function canLast(directory: string): boolean {
  return statFilesystem(directory).type !== tmpfs;
}

const tmpfs = 0x01021994;

/** fsync of files and directories, all at once: one write of the journal serves them all. */
export async function syncPaths(paths: readonly string[]): Promise<void> {
  const results = await Promise.allSettled(paths.map(syncPath));
  for (const result of results) if (result.status === "rejected") throw result.reason;
}

async function syncPath(path: string): Promise<void> {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    await syncFile(fd);
  } finally {
    closeSync(fd);
  }
}
