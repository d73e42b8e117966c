import { MetricType } from "@ocid/cri-api";
import { expect, test } from "vitest";
import { type ContainerSample, containerMetrics } from "./container-metrics.ts";
import { commonLabels, descriptorOf, readMetrics } from "./metric.ts";
import { networkMetrics } from "./network-metrics.ts";

const line = { avg10: 0, avg60: 0, avg300: 0, totalUs: 2_500_000n };
const sample: ContainerSample = {
  cgroupPath: "/pods/one",
  startedAtNs: 1_000_000_000n,
  nowNs: 9_000_000_000n,
  usage: {
    timestampNs: 5n,
    cpuUsageNs: 3_999_999_999n,
    memoryUsageBytes: 10n,
    memoryWorkingSetBytes: 8n,
    memoryRssBytes: 5n,
    memoryPageFaults: 4n,
    memoryMajorPageFaults: 1n,
    pids: 3n,
    pressure: { cpu: { some: line, full: line }, memory: { some: line } },
  },
  cpu: { userNs: 1n, systemNs: undefined, periods: 1n, throttledPeriods: 0n, throttledNs: 0n },
  memory: {
    cacheBytes: 1n,
    kernelBytes: undefined,
    mappedFileBytes: 0n,
    activeFileBytes: 0n,
    inactiveFileBytes: 0n,
    peakBytes: undefined,
    failures: 0n,
    ownPageFaults: 2n,
    ownMajorPageFaults: undefined,
  },
  limits: {
    cpuShares: 2n,
    cpuPeriodUs: 100_000n,
    cpuQuotaUs: 0n,
    memoryBytes: 0n,
    memoryReservationBytes: 0n,
    memorySwapBytes: 0n,
  },
  devices: [{ name: "/dev/vda", major: 254, minor: 0, readBytes: 1n, writeBytes: 2n, reads: 3n, writes: 4n }],
  hugepages: [{ pageSize: "2MB", usageBytes: 0n, peakBytes: undefined }],
  oomKills: 1n,
  processes: { processes: 1n, threads: 2n, fileDescriptors: 4n, sockets: 0n },
  openFilesLimit: 1024n,
  filesystem: { device: "/dev/vda", sizeBytes: 100n, inodes: 10n, inodesFree: 5n, usedBytes: 7n },
};

test("names are told once, as cAdvisor spells them, and every metric with as many labels as it has values", () => {
  const descriptors = [...containerMetrics, ...networkMetrics].map(descriptorOf);
  const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys!]));
  expect(keys.size).toBe(descriptors.length);
  for (const name of keys.keys()) expect(name).toMatch(/^container_[a-z_]+$/);
  const metrics = readMetrics(containerMetrics, sample, commonLabels, 7n);
  for (const { name, labelValues } of metrics)
    expect(labelValues, name).toHaveLength(keys.get(name!)!.length);
});

test("values: whole seconds, what the kernel does not say left out, labels of their own last", () => {
  const all = readMetrics(containerMetrics, sample, ["c", "/x", "i", "n", "ns", "p"], 7n);
  const of = (name: string) =>
    all
      .filter(metric => metric.name === name)
      .map(({ value, labelValues }) => [value!.value, ...labelValues!.slice(6)]);
  expect(all[0]).toMatchObject({ timestamp: 7n, metricType: MetricType.COUNTER });
  expect(of("container_cpu_usage_seconds_total")).toEqual([[3n, "total"]]);
  expect(of("container_cpu_system_seconds_total")).toEqual([]);
  expect(of("container_spec_cpu_quota")).toEqual([]);
  expect(of("container_memory_kernel_usage")).toEqual([[0n]]);
  expect(of("container_memory_failures_total")).toEqual([
    [2n, "pgfault", "container"],
    [4n, "pgfault", "hierarchy"],
    [1n, "pgmajfault", "container"],
    [1n, "pgmajfault", "hierarchy"],
  ]);
  expect(of("container_blkio_device_usage_total")).toEqual([
    [1n, "/dev/vda", "254", "0", "Read"],
    [2n, "/dev/vda", "254", "0", "Write"],
  ]);
  expect(of("container_hugetlb_usage_bytes")).toEqual([[0n, "2MB"]]);
  expect(of("container_hugetlb_max_usage_bytes")).toEqual([]);
  expect(of("container_pressure_cpu_stalled_seconds_total")).toEqual([[2n]]);
  expect(of("container_pressure_memory_stalled_seconds_total")).toEqual([]);
  expect(of("container_pressure_io_waiting_seconds_total")).toEqual([]);
  expect(of("container_threads")).toEqual([[3n]]);
  expect(of("container_ulimits_soft")).toEqual([[1024n, "max_open_files"]]);
});

test("threads are counted from processes where no pids controller counts them", () => {
  const without = { ...sample, usage: { ...sample.usage, pids: 0n } };
  const threads = readMetrics(containerMetrics, without, [], 0n).find(
    ({ name }) => name === "container_threads",
  );
  expect(threads?.value?.value).toBe(2n);
});
