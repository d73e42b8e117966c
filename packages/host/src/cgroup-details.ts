import { existsSync, readdirSync } from "node:fs";
import type { Cgroup } from "./cgroup.ts";
import { type DeviceIo, readDeviceIo } from "./cgroup-io.ts";
import { type CgroupLayout, detectCgroups } from "./cgroup-layout.ts";
import { readOomKills } from "./cgroup-usage.ts";
import { keyed, number, unlimited } from "./cgroup-values.ts";

/** What monitoring wants of a cgroup beyond its usage. Undefined where the kernel does not say; a limit of 0 is none. */
export interface CgroupDetails {
  readonly cpu: {
    readonly userNs: bigint | undefined;
    readonly systemNs: bigint | undefined;
    /** Enforcement periods of the CPU quota: those that were, and those in which it was used up. */
    readonly periods: bigint;
    readonly throttledPeriods: bigint;
    readonly throttledNs: bigint;
  };
  readonly memory: {
    readonly cacheBytes: bigint;
    readonly kernelBytes: bigint | undefined;
    readonly mappedFileBytes: bigint;
    readonly activeFileBytes: bigint;
    readonly inactiveFileBytes: bigint;
    /** The most that was ever used. */
    readonly peakBytes: bigint | undefined;
    /** How often the limit was hit. */
    readonly failures: bigint;
    /** Of the cgroup alone; `usage` has them with those below. */
    readonly ownPageFaults: bigint | undefined;
    readonly ownMajorPageFaults: bigint | undefined;
  };
  readonly limits: {
    /** In the units of version 1, 2 to 262144; version 2's weight is converted. */
    readonly cpuShares: bigint;
    readonly cpuPeriodUs: bigint;
    readonly cpuQuotaUs: bigint;
    readonly memoryBytes: bigint;
    readonly memoryReservationBytes: bigint;
    /** Memory and swap together. */
    readonly memorySwapBytes: bigint;
  };
  readonly devices: readonly DeviceIo[];
  readonly hugepages: readonly {
    /** `2MB` … */
    readonly pageSize: string;
    readonly usageBytes: bigint;
    readonly peakBytes: bigint | undefined;
  }[];
  readonly oomKills: bigint;
}

/** What reads a cgroup's files. */
export type CgroupReader = Pick<Cgroup, "read" | "readUnified">;

/** `pageSizes`: huge pages that the machine has, as the kernel's files spell them. */
export function readCgroupDetails(
  cgroup: CgroupReader,
  layout: CgroupLayout = detectCgroups(),
  pageSizes: readonly string[] = hugePageSizes(),
): CgroupDetails {
  return {
    ...(layout.version === 2 ? detailsOfV2(cgroup) : detailsOfV1(cgroup)),
    devices: readDeviceIo(cgroup, layout) ?? [],
    hugepages: pageSizes.flatMap(pageSize => hugepagesOf(cgroup, pageSize)),
    oomKills: readOomKills(cgroup, layout),
  };
}

type Own = Pick<CgroupDetails, "cpu" | "memory" | "limits">;

function detailsOfV2(cgroup: CgroupReader): Own {
  const cpu = keyed(cgroup.read("cpu", "cpu.stat"));
  const memory = keyed(cgroup.read("memory", "memory.stat"));
  const [quota, period] = (cgroup.read("cpu", "cpu.max") ?? "max 0").trim().split(" ");
  const limit = (file: string) => number(cgroup.read("memory", file)) ?? 0n;
  const [memoryBytes, swapBytes] = [limit("memory.max"), limit("memory.swap.max")];
  const nanoseconds = (key: string) => {
    const microseconds = cpu(key);
    return microseconds === undefined ? undefined : microseconds * 1000n;
  };
  return {
    cpu: {
      userNs: nanoseconds("user_usec"),
      systemNs: nanoseconds("system_usec"),
      periods: cpu("nr_periods") ?? 0n,
      throttledPeriods: cpu("nr_throttled") ?? 0n,
      throttledNs: nanoseconds("throttled_usec") ?? 0n,
    },
    memory: {
      cacheBytes: memory("file") ?? 0n,
      kernelBytes:
        memory("kernel") ?? sumOf(memory, ["slab", "kernel_stack", "pagetables", "percpu", "sock"]),
      mappedFileBytes: memory("file_mapped") ?? 0n,
      activeFileBytes: memory("active_file") ?? 0n,
      inactiveFileBytes: memory("inactive_file") ?? 0n,
      peakBytes: number(cgroup.read("memory", "memory.peak")),
      failures: keyed(cgroup.read("memory", "memory.events"))("max") ?? 0n,
      ownPageFaults: undefined,
      ownMajorPageFaults: undefined,
    },
    limits: {
      cpuShares: sharesOfWeight(number(cgroup.read("cpu", "cpu.weight"))),
      cpuPeriodUs: BigInt(period ?? 0),
      cpuQuotaUs: number(quota) ?? 0n,
      memoryBytes,
      memoryReservationBytes: limit("memory.low"),
      memorySwapBytes:
        memoryBytes === 0n || cgroup.read("memory", "memory.swap.max")?.trim() === "max"
          ? 0n
          : memoryBytes + swapBytes,
    },
  };
}

function detailsOfV1(cgroup: CgroupReader): Own {
  const cpu = keyed(cgroup.read("cpu", "cpu.stat"));
  const memory = keyed(cgroup.read("memory", "memory.stat"));
  const limit = (file: string) => {
    const value = number(cgroup.read("memory", file)) ?? 0n;
    return value < unlimited ? value : 0n;
  };
  return {
    cpu: {
      userNs: number(cgroup.read("cpuacct", "cpuacct.usage_user")),
      systemNs: number(cgroup.read("cpuacct", "cpuacct.usage_sys")),
      periods: cpu("nr_periods") ?? 0n,
      throttledPeriods: cpu("nr_throttled") ?? 0n,
      throttledNs: cpu("throttled_time") ?? 0n,
    },
    memory: {
      cacheBytes: memory("total_cache") ?? 0n,
      kernelBytes: number(cgroup.read("memory", "memory.kmem.usage_in_bytes")),
      mappedFileBytes: memory("total_mapped_file") ?? 0n,
      activeFileBytes: memory("total_active_file") ?? 0n,
      inactiveFileBytes: memory("total_inactive_file") ?? 0n,
      peakBytes: number(cgroup.read("memory", "memory.max_usage_in_bytes")),
      failures: number(cgroup.read("memory", "memory.failcnt")) ?? 0n,
      ownPageFaults: memory("pgfault"),
      ownMajorPageFaults: memory("pgmajfault"),
    },
    limits: {
      cpuShares: number(cgroup.read("cpu", "cpu.shares")) ?? 0n,
      cpuPeriodUs: number(cgroup.read("cpu", "cpu.cfs_period_us")) ?? 0n,
      // -1, which is none, is no number here.
      cpuQuotaUs: number(cgroup.read("cpu", "cpu.cfs_quota_us")) ?? 0n,
      memoryBytes: limit("memory.limit_in_bytes"),
      memoryReservationBytes: limit("memory.soft_limit_in_bytes"),
      memorySwapBytes: limit("memory.memsw.limit_in_bytes"),
    },
  };
}

/** Of a hybrid machine the controller may be in the unified hierarchy. */
function hugepagesOf(cgroup: CgroupReader, pageSize: string): CgroupDetails["hugepages"] {
  const usageBytes =
    number(cgroup.read("hugetlb", `hugetlb.${pageSize}.usage_in_bytes`)) ??
    number(cgroup.readUnified(`hugetlb.${pageSize}.current`));
  if (usageBytes === undefined) return [];
  const peakBytes = number(cgroup.read("hugetlb", `hugetlb.${pageSize}.max_usage_in_bytes`));
  return [{ pageSize, usageBytes, peakBytes }];
}

/** Sizes of huge pages that this machine has: `2MB`, `1GB` … */
function hugePageSizes(): readonly string[] {
  const directory = "/sys/kernel/mm/hugepages";
  if (!existsSync(directory)) return [];
  return readdirSync(directory).flatMap(name => {
    const kib = Number(/^hugepages-(\d+)kB$/.exec(name)?.[1]);
    if (!kib) return [];
    return [kib >= 2 ** 20 ? `${kib / 2 ** 20}GB` : kib >= 1024 ? `${kib / 1024}MB` : `${kib}KB`];
  });
}

/** The other way round of what runtimes do to set a weight: 1 to 10000 as 2 to 262144, on a line. */
function sharesOfWeight(weight: bigint | undefined): bigint {
  return weight === undefined || weight === 0n ? 0n : 2n + ((weight - 1n) * 262_142n) / 9_999n;
}

function sumOf(values: (key: string) => bigint | undefined, keys: readonly string[]): bigint {
  return keys.reduce((sum, key) => sum + (values(key) ?? 0n), 0n);
}
