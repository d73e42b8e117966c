import { lstat, readdir } from "node:fs/promises";

export interface DiskUsage {
  readonly bytes: number;
  readonly inodes: number;
}

/** Entries asked for at once: enough to keep the thread pool busy, few enough to leave it to others. */
const batch = 32;

/**
 * Bytes on disk and inodes of everything below a directory, hard links counted once; what goes away meanwhile is
 * passed over. The event loop and the memory stay free however large the tree is.
 */
export async function diskUsage(directory: string, signal?: AbortSignal): Promise<DiskUsage> {
  const linked = new Set<bigint>();
  let bytes = 0;
  let inodes = 0;
  const pending = [Buffer.from(directory)];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    // Names need not be UTF-8.
    const names = (await readdir(path, { encoding: "buffer" }).catch(ignoreGone)) ?? [];
    const children = names.map(name => Buffer.concat([path!, slash, name]));
    for (let at = 0; at < children.length; at += batch) {
      signal?.throwIfAborted();
      const some = children.slice(at, at + batch);
      const stats = await Promise.all(some.map(child => lstat(child, { bigint: true }).catch(ignoreGone)));
      for (const [index, stat] of stats.entries()) {
        if (!stat) continue;
        if (stat.isDirectory()) pending.push(some[index]!);
        else if (stat.nlink > 1n) {
          if (linked.has(stat.ino)) continue;
          linked.add(stat.ino);
        }
        bytes += Number(stat.blocks) * 512;
        inodes++;
      }
    }
  }
  return { bytes, inodes };
}

const slash = Buffer.from("/");

function ignoreGone(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
  throw error;
}
