import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";

export interface DiskUsage {
  readonly bytes: number;
  readonly inodes: number;
}

/** Bytes on disk and inodes of a directory tree, hard links counted once; what goes away meanwhile is passed over. */
export async function diskUsage(directory: string, signal?: AbortSignal): Promise<DiskUsage> {
  const seen = new Set<bigint>();
  let bytes = 0;
  let inodes = 0;
  const pending = [directory];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    signal?.throwIfAborted();
    const entries = await opendir(path).catch(ignoreGone);
    if (!entries) continue;
    for await (const entry of entries) {
      const child = join(path, entry.name);
      const stat = await lstat(child, { bigint: true }).catch(ignoreGone);
      if (!stat || (stat.nlink > 1n && !stat.isDirectory() && seen.has(stat.ino))) continue;
      seen.add(stat.ino);
      bytes += Number(stat.blocks) * 512;
      inodes++;
      if (stat.isDirectory()) pending.push(child);
    }
  }
  return { bytes, inodes };
}

function ignoreGone(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
  throw error;
}
