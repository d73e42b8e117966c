import { randomInt } from "node:crypto";
import { existsSync, fstatSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { type FileLock, removeTree, tryLockFile } from "@ocid/host";
import { type Layout, placesOf } from "./layout.ts";

/** A directory beside the store's own; others see from the lock of its name that it is in use (§D.7). */
export interface StagingDirectory extends AsyncDisposable {
  readonly path: string;
}

/** Makes a staging directory below `parent`, with the names by which the other programs find what the dead have left. */
export function openStaging(parent: string): StagingDirectory {
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  for (;;) {
    const number = randomInt(1, 2 ** 47);
    const lockPath = join(parent, `lock-${number}`);
    const path = join(parent, `temp-dir-${number}`);
    const lock = tryLockPath(lockPath);
    if (!lock) continue;
    try {
      mkdirSync(path, { mode: 0o700 });
    } catch (error) {
      rmSync(lockPath, { force: true });
      lock.release();
      throw error;
    }
    return { path, [Symbol.asyncDispose]: () => removeStaging(parent, String(number), lock) };
  }
}

/** Removes what processes that have died left in staging; returns how many directories that were. */
export async function sweepStaging(layout: Layout): Promise<number> {
  let removed = 0;
  for (const { contentStaging, metadataStaging } of placesOf(layout))
    removed += (await sweep(contentStaging)) + (await sweep(metadataStaging));
  return removed;
}

async function sweep(parent: string): Promise<number> {
  const names = existsSync(parent) ? readdirSync(parent) : [];
  let removed = 0;
  for (const name of names) {
    const [, kind, number] = /^(temp-dir|lock)-(.+)$/.exec(name) ?? [];
    if (kind === undefined || number === undefined) continue;
    const lockPath = join(parent, `lock-${number}`);
    const path = join(parent, `temp-dir-${number}`);
    // A lock without a directory may be one that somebody is about to take.
    if (kind === "lock" && !existsSync(path) && isFresh(lockPath)) continue;
    const lock = tryLockPath(lockPath);
    if (!lock) continue;
    if (existsSync(path)) removed++;
    await removeStaging(parent, number, lock);
  }
  return removed;
}

async function removeStaging(parent: string, number: string, lock: FileLock): Promise<void> {
  try {
    await removeTree(join(parent, `temp-dir-${number}`));
    rmSync(join(parent, `lock-${number}`), { force: true });
  } finally {
    lock.release();
  }
}

/**
 * Takes a lock whose file is removed by whoever holds it: when that happened between our opening and our locking it,
 * the lock of that name is another one's by now.
 */
export function tryLockPath(path: string): FileLock | undefined {
  const lock = tryLockFile(path, { mode: "write" });
  if (!lock) return undefined;
  if (statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(lock.fd).ino) return lock;
  lock.release();
  return undefined;
}

function isFresh(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined || Date.now() - stat.mtimeMs < 60_000;
}
