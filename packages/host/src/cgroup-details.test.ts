import { expect, test } from "vitest";
import { readCgroupDetails } from "./cgroup-details.ts";
import type { CgroupLayout } from "./cgroup-layout.ts";

/** A cgroup of which only these files exist. */
function cgroup(files: Readonly<Record<string, string>>, unified: Readonly<Record<string, string>> = {}) {
  return {
    read: (controller: string, file: string) =>
      file.startsWith(`${controller}.`) || controller === "cpu" ? files[file] : undefined,
    readUnified: (file: string) => unified[file],
  };
}

const layout = (version: 1 | 2) => ({ version }) as CgroupLayout;

test("version 1: limits, traffic, faults and huge pages", () => {
  const files = {
    "cpuacct.usage_user": "1000\n",
    "cpuacct.usage_sys": "500\n",
    "cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 900\n",
    "cpu.shares": "1024\n",
    "cpu.cfs_period_us": "100000\n",
    "cpu.cfs_quota_us": "-1\n",
    "memory.stat":
      "pgfault 7\npgmajfault 1\ntotal_cache 100\ntotal_mapped_file 30\ntotal_active_file 20\ntotal_inactive_file 10\n",
    "memory.kmem.usage_in_bytes": "5\n",
    "memory.max_usage_in_bytes": "4096\n",
    "memory.failcnt": "3\n",
    "memory.limit_in_bytes": "67108864\n",
    "memory.soft_limit_in_bytes": "9223372036854771712\n",
    "memory.memsw.limit_in_bytes": "134217728\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "blkio.throttle.io_service_bytes_recursive":
      "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\n8:16 Read 10\nTotal 13\n",
    "blkio.throttle.io_serviced_recursive": "8:0 Read 3\n8:0 Write 4\n8:16 Read 30\nTotal 37\n",
  };
  const unified = { "hugetlb.2MB.current": "2097152\n" };
  expect(readCgroupDetails(cgroup(files, unified), layout(1), ["2MB", "1GB"])).toEqual({
    cpu: { userNs: 1000n, systemNs: 500n, periods: 10n, throttledPeriods: 4n, throttledNs: 900n },
    memory: {
      cacheBytes: 100n,
      kernelBytes: 5n,
      mappedFileBytes: 30n,
      activeFileBytes: 20n,
      inactiveFileBytes: 10n,
      peakBytes: 4096n,
      failures: 3n,
      ownPageFaults: 7n,
      ownMajorPageFaults: 1n,
    },
    limits: {
      cpuShares: 1024n,
      cpuPeriodUs: 100_000n,
      cpuQuotaUs: 0n,
      memoryBytes: 67_108_864n,
      memoryReservationBytes: 0n,
      memorySwapBytes: 134_217_728n,
    },
    devices: [
      { major: 8, minor: 0, readBytes: 1n, writeBytes: 2n, reads: 3n, writes: 4n },
      { major: 8, minor: 16, readBytes: 10n, writeBytes: 0n, reads: 30n, writes: 0n },
    ],
    hugepages: [{ pageSize: "2MB", usageBytes: 2_097_152n, peakBytes: undefined }],
    oomKills: 2n,
  });
});

const v2 = {
  "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
  "cpu.max": "20000 100000\n",
  "cpu.weight": "39\n",
  "memory.stat":
    "anon 1\nfile 100\nkernel 50\nfile_mapped 30\nactive_file 20\ninactive_file 10\nslab 4\nkernel_stack 3\n",
  "memory.peak": "4096\n",
  "memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n",
  "memory.max": "1000\n",
  "memory.low": "200\n",
  "memory.swap.max": "500\n",
  "io.stat": "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
  "hugetlb.2MB.current": "0\n",
};

test("version 2: the same from the unified files", () => {
  const details = readCgroupDetails(cgroup(v2, v2), layout(2), ["2MB"]);
  expect(details).toEqual({
    cpu: { userNs: 20_000n, systemNs: 10_000n, periods: 5n, throttledPeriods: 2n, throttledNs: 7000n },
    memory: {
      cacheBytes: 100n,
      kernelBytes: 50n,
      mappedFileBytes: 30n,
      activeFileBytes: 20n,
      inactiveFileBytes: 10n,
      peakBytes: 4096n,
      failures: 3n,
      ownPageFaults: undefined,
      ownMajorPageFaults: undefined,
    },
    limits: {
      cpuShares: 998n,
      cpuPeriodUs: 100_000n,
      cpuQuotaUs: 20_000n,
      memoryBytes: 1000n,
      memoryReservationBytes: 200n,
      memorySwapBytes: 1500n,
    },
    devices: [{ major: 254, minor: 0, readBytes: 1n, writeBytes: 2n, reads: 3n, writes: 4n }],
    hugepages: [{ pageSize: "2MB", usageBytes: 0n, peakBytes: undefined }],
    oomKills: 1n,
  });
});

test("version 2: no limit is 0, and an older kernel's kernel memory is the sum of its parts", () => {
  const older = {
    ...v2,
    "memory.stat": "slab 4\nkernel_stack 3\n",
    "cpu.max": "max 100000\n",
    "memory.swap.max": "max\n",
  };
  const { limits, memory } = readCgroupDetails(cgroup(older), layout(2), ["2MB"]);
  expect(limits).toMatchObject({ cpuQuotaUs: 0n, memoryBytes: 1000n, memorySwapBytes: 0n });
  expect(memory.kernelBytes).toBe(7n);
});

test("a cgroup that has gone, or without controllers, has nothing", () => {
  for (const version of [1, 2] as const) {
    const details = readCgroupDetails(cgroup({}), layout(version), ["2MB"]);
    expect([details.devices, details.hugepages, details.oomKills, details.limits.cpuShares]).toEqual([
      [],
      [],
      0n,
      0n,
    ]);
    expect(details.memory.peakBytes).toBeUndefined();
  }
});
