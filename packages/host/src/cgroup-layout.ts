import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseMountinfo } from "./mount.ts";

/** How this machine's cgroups are mounted (cgroups(7)). */
export interface CgroupLayout {
  /** 2 where the unified hierarchy has the controllers; 1 where they are mounted each by itself, hybrid included. */
  readonly version: 1 | 2;
  /** Mount point of the unified hierarchy (version 2), or of each controller (version 1). */
  readonly unified: string | undefined;
  readonly controllers: ReadonlyMap<string, string>;
  /** Mount points of all hierarchies, those without controllers too: runtimes make a container's cgroup in each. */
  readonly hierarchies: readonly string[];
  readonly hugetlb: boolean;
  readonly swap: boolean;
}

let detected: CgroupLayout | undefined;

export function detectCgroups(): CgroupLayout {
  detected ??= readLayout(readFileSync("/proc/self/mountinfo", "utf8"), path =>
    existsSync(path) ? readFileSync(path, "utf8") : "",
  );
  return detected;
}

const v1Controllers = new Set([
  "cpu",
  "cpuacct",
  "cpuset",
  "memory",
  "devices",
  "freezer",
  "blkio",
  "pids",
  "hugetlb",
  "net_cls",
  "net_prio",
  "perf_event",
  "rdma",
  "misc",
]);

/** `read` returns a file's text, empty where there is none. */
export function readLayout(mountinfo: string, read: (path: string) => string): CgroupLayout {
  const controllers = new Map<string, string>();
  const hierarchies = new Set<string>();
  let unified: string | undefined;
  for (const entry of parseMountinfo(mountinfo)) {
    if (entry.fstype === "cgroup2" || entry.fstype === "cgroup") hierarchies.add(entry.target);
    if (entry.fstype === "cgroup2") unified ??= entry.target;
    if (entry.fstype !== "cgroup") continue;
    for (const option of entry.superOptions.split(","))
      if (v1Controllers.has(option) && !controllers.has(option)) controllers.set(option, entry.target);
  }
  if (controllers.has("memory") || controllers.has("cpu") || unified === undefined) {
    const memory = controllers.get("memory");
    return {
      version: 1,
      unified,
      controllers,
      hierarchies: [...hierarchies],
      hugetlb: controllers.has("hugetlb"),
      swap: memory !== undefined && read(join(memory, "memory.memsw.usage_in_bytes")) !== "",
    };
  }
  const offered = read(join(unified, "cgroup.controllers")).trim().split(" ").filter(Boolean);
  for (const controller of offered) controllers.set(controller, unified);
  return {
    version: 2,
    unified,
    controllers,
    hierarchies: [...hierarchies],
    hugetlb: controllers.has("hugetlb"),
    swap: controllers.has("memory"),
  };
}
