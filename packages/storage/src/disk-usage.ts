import { constants, lstatSync, readdirSync } from "node:fs";
import { lstat, open, readdir } from "node:fs/promises";

export interface DiskUsage {
  readonly bytes: number;
  readonly inodes: number;
}

/** Entries asked for at once: enough to keep the thread pool busy, few enough to leave it to others. */
const batch = 32;
/** Well below PATH_MAX (4096), with the names that come after it. */
const deepBytes = 2048;

/**
 * Bytes on disk and inodes of everything below a directory, hard links counted once; what goes away meanwhile is
 * passed over. The event loop and the memory stay free however large the tree is.
 */
export async function diskUsage(directory: string, signal?: AbortSignal): Promise<DiskUsage> {
  const small = smallUsage(Buffer.from(directory));
  if (small) return small;
  const sum = { bytes: 0, inodes: 0 };
  await addTree(Buffer.from(directory), sum, new Set(), signal);
  return sum;
}

/** Most of what containers write is a few files: asking at once takes a tenth of what promises take. */
const fewEntries = 64;

/** Undefined for a tree that has more than a few entries, is deep, or has hard links. */
function smallUsage(top: Buffer): DiskUsage | undefined {
  const pending = [top];
  let [bytes, inodes] = [0, 0];
  try {
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      const names = readdirSync(path, { encoding: "buffer" });
      if (inodes + names.length > fewEntries || path.byteLength > deepBytes) return undefined;
      for (const name of names) {
        const child = Buffer.concat([path, slash, name]);
        const stat = lstatSync(child);
        if (stat.isDirectory()) pending.push(child);
        else if (stat.nlink > 1) return undefined;
        bytes += stat.blocks * 512;
        inodes++;
      }
    }
  } catch (error) {
    return ignoreGone(error as NodeJS.ErrnoException);
  }
  return { bytes, inodes };
}

type TreeSum = readonly [
  sum: { bytes: number; inodes: number },
  linked: Set<bigint>,
  signal: AbortSignal | undefined,
];

async function addTree(top: Buffer, ...[sum, linked, signal]: TreeSum): Promise<void> {
  const pending = [top];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (path.byteLength > top.byteLength + deepBytes) {
      await addDeepTree(path, sum, linked, signal);
      continue;
    }
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
        sum.bytes += Number(stat.blocks) * 512;
        sum.inodes++;
      }
    }
  }
}

/** A tree may be deeper than a path can say: what lies below is reached through a descriptor. */
async function addDeepTree(path: Buffer, ...rest: TreeSum): Promise<void> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  const directory = await open(path, flags).catch(ignoreGone);
  if (!directory) return;
  try {
    await addTree(Buffer.from(`/proc/self/fd/${directory.fd}`), ...rest);
  } finally {
    await directory.close();
  }
}

const slash = Buffer.from("/");

function ignoreGone(error: NodeJS.ErrnoException): undefined {
  if (["ENOENT", "ENOTDIR", "ELOOP"].includes(error.code ?? "")) return undefined;
  throw error;
}
