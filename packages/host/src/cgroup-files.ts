import { readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "./errno.ts";
import { pause } from "./pause.ts";

/** Text of a file; undefined where there is none, or its cgroup has just gone. */
export function tryRead(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isGone(error) || errnoOf(error) === "EOPNOTSUPP") return undefined;
    throw error;
  }
}

/** ENODEV: an open or just looked-up file of a cgroup that was removed meanwhile. */
export function isGone(error: unknown): boolean {
  return ["ENOENT", "ENODEV", "ENOTDIR"].includes(errnoOf(error) ?? "");
}

/** Pids of a cgroup directory and, with `deep`, of those below. Processes outside our pid namespace (0) are left out. */
export function pidsOf(directory: string, deep: boolean): readonly number[] {
  const own = (tryRead(join(directory, "cgroup.procs")) ?? "")
    .split("\n")
    .map(Number)
    .filter(pid => pid > 0);
  return deep ? [...own, ...childrenOf(directory).flatMap(child => pidsOf(child, true))] : own;
}

/** Removes a cgroup directory with those below it; what is gone already is no error. */
export async function removeCgroupTree(directory: string): Promise<void> {
  for (const child of childrenOf(directory)) await removeCgroupTree(child);
  for (let attempt = 0; ; attempt++) {
    try {
      rmdirSync(directory);
      return;
    } catch (error) {
      if (isGone(error)) return;
      // Zombies that init has not reaped yet keep a cgroup busy for a moment.
      if (errnoOf(error) !== "EBUSY" || attempt === 200) throw error;
      await pause(Math.min(25, 1 + attempt));
    }
  }
}

/** Directories of the cgroups directly below; none when it has gone. */
export function childrenOf(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter(entry => entry.isDirectory())
      .map(entry => join(directory, entry.name));
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}
