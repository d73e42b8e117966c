import type { Cgroup } from "./cgroup.ts";
import { readDeviceIo } from "./cgroup-io.ts";
import { type CgroupLayout, detectCgroups } from "./cgroup-layout.ts";
import { keyed, number, unlimited } from "./cgroup-values.ts";

/** What a cgroup has used; the names follow the CRI's statistics. Undefined where the kernel does not say. */
export interface CgroupUsage {
  readonly timestampNs: bigint;
  readonly cpuUsageNs: bigint;
  readonly memoryUsageBytes: bigint;
  /** Usage without what the kernel could drop at once. */
  readonly memoryWorkingSetBytes: bigint;
  /** Limit less working set; undefined without a limit. */
  readonly memoryAvailableBytes?: bigint;
  readonly memoryRssBytes: bigint;
  readonly memoryPageFaults: bigint;
  readonly memoryMajorPageFaults: bigint;
  readonly swapUsageBytes?: bigint;
  readonly swapAvailableBytes?: bigint;
  /** Tasks: threads count each. */
  readonly pids?: bigint;
  readonly pidsLimit?: bigint;
  readonly io?: CgroupIo;
}

/** What is more than CPU, memory and swap: tasks, and traffic with block devices; each is two more files to read. */
export type CgroupUsagePart = "tasks" | "traffic";

/** Traffic with block devices, all devices together. */
export interface CgroupIo {
  readonly readBytes: bigint;
  readonly writeBytes: bigint;
  readonly reads: bigint;
  readonly writes: bigint;
}

/** CPU, memory and swap of a cgroup and all below it, and the parts that are asked for (default: all). */
export function readCgroupUsage(
  cgroup: Pick<Cgroup, "read">,
  layout: CgroupLayout = detectCgroups(),
  parts: readonly CgroupUsagePart[] = ["tasks", "traffic"],
): CgroupUsage {
  const usage = layout.version === 2 ? usageOfV2(cgroup) : usageOfV1(cgroup);
  const io = parts.includes("traffic") ? ioOf(cgroup, layout) : undefined;
  return {
    ...usage,
    ...(parts.includes("tasks") ? tasksOf(cgroup) : {}),
    ...(io === undefined ? {} : { io }),
  };
}

/**
 * How often the kernel has killed a process of the cgroup for want of memory; on version 2 those below it count too.
 */
export function readOomKills(cgroup: Pick<Cgroup, "read">, layout: CgroupLayout = detectCgroups()): bigint {
  const file = layout.version === 2 ? "memory.events" : "memory.oom_control";
  return keyed(cgroup.read("memory", file))("oom_kill") ?? 0n;
}

function usageOfV2(cgroup: Pick<Cgroup, "read">): CgroupUsage {
  const memory = keyed(cgroup.read("memory", "memory.stat"));
  const usage = number(cgroup.read("memory", "memory.current")) ?? 0n;
  const swap = number(cgroup.read("memory", "memory.swap.current"));
  const swapLimit = number(cgroup.read("memory", "memory.swap.max"));
  return complete({
    cpuUsageNs: (keyed(cgroup.read("cpu", "cpu.stat"))("usage_usec") ?? 0n) * 1000n,
    usage,
    inactiveFile: memory("inactive_file") ?? 0n,
    limit: number(cgroup.read("memory", "memory.max")),
    rss: memory("anon") ?? 0n,
    faults: memory("pgfault") ?? 0n,
    majorFaults: memory("pgmajfault") ?? 0n,
    swap,
    swapLimit,
  });
}

function usageOfV1(cgroup: Pick<Cgroup, "read">): CgroupUsage {
  const memory = keyed(cgroup.read("memory", "memory.stat"));
  const usage = number(cgroup.read("memory", "memory.usage_in_bytes")) ?? 0n;
  const withSwap = number(cgroup.read("memory", "memory.memsw.usage_in_bytes"));
  const limit = number(cgroup.read("memory", "memory.limit_in_bytes"));
  const swapLimit = number(cgroup.read("memory", "memory.memsw.limit_in_bytes"));
  const limited = limit !== undefined && limit < unlimited;
  return complete({
    cpuUsageNs: number(cgroup.read("cpuacct", "cpuacct.usage")) ?? 0n,
    usage,
    inactiveFile: memory("total_inactive_file") ?? 0n,
    limit: limited ? limit : undefined,
    rss: memory("total_rss") ?? 0n,
    faults: memory("total_pgfault") ?? 0n,
    majorFaults: memory("total_pgmajfault") ?? 0n,
    swap: withSwap === undefined ? undefined : atLeastZero(withSwap - usage),
    swapLimit:
      limited && swapLimit !== undefined && swapLimit < unlimited
        ? atLeastZero(swapLimit - limit)
        : undefined,
  });
}

function tasksOf(cgroup: Pick<Cgroup, "read">): Pick<CgroupUsage, "pids" | "pidsLimit"> {
  const limit = number(cgroup.read("pids", "pids.max"));
  return {
    pids: number(cgroup.read("pids", "pids.current")) ?? 0n,
    ...(limit === undefined ? {} : { pidsLimit: limit }),
  };
}

/** All devices together. */
function ioOf(cgroup: Pick<Cgroup, "read">, layout: CgroupLayout): CgroupIo | undefined {
  const devices = readDeviceIo(cgroup, layout);
  if (devices === undefined) return undefined;
  const sum = (key: keyof CgroupIo) => devices.reduce((total, device) => total + device[key], 0n);
  return {
    readBytes: sum("readBytes"),
    writeBytes: sum("writeBytes"),
    reads: sum("reads"),
    writes: sum("writes"),
  };
}

function complete(
  raw: Record<"cpuUsageNs" | "usage" | "inactiveFile" | "rss" | "faults" | "majorFaults", bigint> &
    Record<"limit" | "swap" | "swapLimit", bigint | undefined>,
): CgroupUsage {
  const workingSet = atLeastZero(raw.usage - raw.inactiveFile);
  return {
    timestampNs: BigInt(Date.now()) * 1_000_000n,
    cpuUsageNs: raw.cpuUsageNs,
    memoryUsageBytes: raw.usage,
    memoryWorkingSetBytes: workingSet,
    ...(raw.limit === undefined ? {} : { memoryAvailableBytes: atLeastZero(raw.limit - workingSet) }),
    memoryRssBytes: raw.rss,
    memoryPageFaults: raw.faults,
    memoryMajorPageFaults: raw.majorFaults,
    ...(raw.swap === undefined ? {} : { swapUsageBytes: raw.swap }),
    ...(raw.swap === undefined || raw.swapLimit === undefined
      ? {}
      : { swapAvailableBytes: atLeastZero(raw.swapLimit - raw.swap) }),
  };
}

function atLeastZero(value: bigint): bigint {
  return value < 0n ? 0n : value;
}
