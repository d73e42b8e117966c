import { join } from "node:path";
import { childrenOf, tryRead } from "./cgroup-files.ts";
import { type CgroupLayout, detectCgroups } from "./cgroup-layout.ts";
import { keyed } from "./cgroup-values.ts";

/**
 * How many of the kills that a cgroup of version 2 has counted for want of memory were in cgroups directly below it that
 * are gone. The kernel adds each kill to all cgroups above (cgroup-v2.rst, `memory.events`), where the number outlives
 * the cgroup that it happened in. 0 of a cgroup that is not there; undefined on version 1, which adds nothing up.
 */
export function readLostOomKills(path: string, layout: CgroupLayout = detectCgroups()): bigint | undefined {
  if (layout.version !== 2) return undefined;
  const directory = join(layout.unified!, path);
  let kills = killsIn(directory);
  while (kills !== undefined) {
    const present = childrenOf(directory).reduce((sum, child) => sum + (killsIn(child) ?? 0n), 0n);
    const now = killsIn(directory);
    if (now === kills) return kills - present;
    // A kill between the readings is only on one side.
    kills = now;
  }
  return 0n;
}

function killsIn(directory: string): bigint | undefined {
  return keyed(tryRead(join(directory, "memory.events")))("oom_kill");
}
