import { closeSync } from "node:fs";
import { atCurrentDirectory, call, cString } from "./sys.ts";

const openTreeClone = 1;
const cloexec = 0o2000000;

/**
 * Runs `work` with a path at which a directory is seen without what is mounted below it (open_tree(2),
 * OPEN_TREE_CLONE): rename(2) refuses to leave a bind mount, even for another directory of the same file system. The
 * path ends with `work`, which must not wait for anything. Needs CAP_SYS_ADMIN.
 */
export function withoutMountsBelow<T>(directory: string, work: (path: string) => T): T {
  const tree = call(
    "open_tree",
    directory,
    atCurrentDirectory,
    cString(directory),
    openTreeClone | cloexec,
  ) as number;
  try {
    return work(`/proc/self/fd/${tree}`);
  } finally {
    closeSync(tree);
  }
}
