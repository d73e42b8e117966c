import { existsSync, readFileSync, statSync } from "node:fs";
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
  /** Who makes cgroups unless configured otherwise: systemd where it runs and owns the unified hierarchy. */
  readonly driverDefault: "cgroupfs" | "systemd";
  readonly hugetlb: boolean;
  /** Whether swap is accounted, and can be limited. */
  readonly swap: boolean;
}

let detected: CgroupLayout | undefined;

export function detectCgroups(): CgroupLayout {
  detected ??= readLayout(readFileSync("/proc/self/mountinfo", "utf8"), path => {
    if (!existsSync(path)) return "";
    return statSync(path).isDirectory() ? "directory" : readFileSync(path, "utf8");
  });
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
    // Whatever is mounted of a part of a hierarchy only (in containers of others) is not where cgroups are made.
    if (entry.root !== "/" && entry.fstype.startsWith("cgroup") && hierarchies.size > 0) continue;
    if (entry.fstype === "cgroup2") {
      unified ??= entry.target;
      hierarchies.add(unified);
    }
    if (entry.fstype !== "cgroup") continue;
    const options = entry.superOptions.split(",");
    const fresh = options.filter(option => v1Controllers.has(option) && !controllers.has(option));
    for (const option of fresh) controllers.set(option, entry.target);
    if (fresh.length > 0 || options.some(option => option.startsWith("name="))) hierarchies.add(entry.target);
  }
  const memory = controllers.get("memory");
  if (memory !== undefined || controllers.has("cpu") || unified === undefined) {
    return {
      version: 1,
      unified,
      controllers,
      hierarchies: [...hierarchies],
      driverDefault: "cgroupfs",
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
    hierarchies: [unified],
    driverDefault: read("/run/systemd/system") === "" ? "cgroupfs" : "systemd",
    hugetlb: controllers.has("hugetlb"),
    swap: controllers.has("memory") && swapOfV2(unified, read),
  };
}

/** The root of the hierarchy has no memory files: our own cgroup tells, and from the root whether there is swap at all. */
function swapOfV2(unified: string, read: (path: string) => string): boolean {
  const own = /^0::(.*)$/m.exec(read("/proc/self/cgroup"))?.[1] ?? "/";
  if (read(join(unified, own, "memory.current")) === "") return read("/proc/swaps") !== "";
  return read(join(unified, own, "memory.swap.max")) !== "";
}
