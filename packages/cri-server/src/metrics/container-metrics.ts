import { MetricType } from "@ocid/cri-api";
import type { ContainerMeasurements, Pressure } from "../ports.ts";
import { counter, gauge, type MetricDefinition, type Reading, seconds } from "./metric.ts";

/** What was found of a container in one look. */
export interface ContainerSample extends ContainerMeasurements {
  readonly startedAtNs: bigint;
  readonly nowNs: bigint;
  readonly filesystem: {
    readonly device: string;
    readonly sizeBytes: bigint;
    readonly inodes: bigint;
    readonly inodesFree: bigint;
    /** Of the container's writable layer. */
    readonly usedBytes: bigint;
  };
}

type Metric = MetricDefinition<ContainerSample>;

const cpu: readonly Metric[] = [
  counter("container_cpu_user_seconds_total", "CPU time spent in user mode, in seconds.", ({ cpu }) =>
    seconds(cpu.userNs),
  ),
  counter("container_cpu_system_seconds_total", "CPU time spent in the kernel, in seconds.", ({ cpu }) =>
    seconds(cpu.systemNs),
  ),
  {
    name: "container_cpu_usage_seconds_total",
    help: "CPU time spent, in seconds.",
    type: MetricType.COUNTER,
    labels: ["cpu"],
    read: ({ usage }) => [[seconds(usage.cpuUsageNs), "total"]],
  },
  counter(
    "container_cpu_cfs_periods_total",
    "Periods in which the CPU quota was enforced.",
    ({ cpu }) => cpu.periods,
  ),
  counter(
    "container_cpu_cfs_throttled_periods_total",
    "Periods in which the CPU quota was used up.",
    ({ cpu }) => cpu.throttledPeriods,
  ),
  counter(
    "container_cpu_cfs_throttled_seconds_total",
    "Time for which the CPU quota has held tasks up, in seconds.",
    ({ cpu }) => seconds(cpu.throttledNs),
  ),
];

const memory: readonly Metric[] = [
  gauge("container_memory_cache", "Bytes of page cache.", ({ memory }) => memory.cacheBytes),
  gauge("container_memory_rss", "Bytes of anonymous memory.", ({ usage }) => usage.memoryRssBytes),
  gauge("container_memory_kernel_usage", "Bytes of kernel memory.", ({ memory }) => memory.kernelBytes ?? 0n),
  gauge("container_memory_mapped_file", "Bytes of mapped files.", ({ memory }) => memory.mappedFileBytes),
  gauge("container_memory_swap", "Bytes of swap.", ({ usage }) => usage.swapUsageBytes ?? 0n),
  counter("container_memory_failcnt", "How often the memory limit was hit.", ({ memory }) => memory.failures),
  gauge(
    "container_memory_usage_bytes",
    "Bytes of memory, whenever last used.",
    ({ usage }) => usage.memoryUsageBytes,
  ),
  // 0 on kernels before 5.19 with cgroup v2, which do not remember it.
  gauge(
    "container_memory_max_usage_bytes",
    "The most bytes of memory that were ever used.",
    ({ memory }) => memory.peakBytes ?? 0n,
  ),
  gauge(
    "container_memory_working_set_bytes",
    "Bytes of memory without what the kernel could drop at once.",
    ({ usage }) => usage.memoryWorkingSetBytes,
  ),
  gauge(
    "container_memory_total_active_file_bytes",
    "Bytes of page cache in use.",
    ({ memory }) => memory.activeFileBytes,
  ),
  gauge(
    "container_memory_total_inactive_file_bytes",
    "Bytes of page cache not in use.",
    ({ memory }) => memory.inactiveFileBytes,
  ),
  {
    name: "container_memory_failures_total",
    help: "Page faults.",
    type: MetricType.COUNTER,
    labels: ["failure_type", "scope"],
    read: ({ memory, usage }) => [
      [memory.ownPageFaults ?? usage.memoryPageFaults, "pgfault", "container"],
      [usage.memoryPageFaults, "pgfault", "hierarchy"],
      [memory.ownMajorPageFaults ?? usage.memoryMajorPageFaults, "pgmajfault", "container"],
      [usage.memoryMajorPageFaults, "pgmajfault", "hierarchy"],
    ],
  },
  counter(
    "container_oom_events_total",
    "How often the kernel has killed a process for want of memory.",
    ({ oomKills }) => oomKills,
  ),
];

const onDevice = ["device"] as const;
type Device = ContainerSample["devices"][number];
const ofDevices = (value: (device: Device) => bigint) => (sample: ContainerSample) =>
  sample.devices.map((device): Reading => [value(device), device.name]);
const ofFilesystem =
  (value: (filesystem: ContainerSample["filesystem"]) => bigint) =>
  ({ filesystem }: ContainerSample): readonly Reading[] => [[value(filesystem), filesystem.device]];

const disk: readonly Metric[] = [
  {
    name: "container_fs_inodes_free",
    help: "Free inodes of the file system with the writable layer.",
    type: MetricType.GAUGE,
    labels: onDevice,
    read: ofFilesystem(filesystem => filesystem.inodesFree),
  },
  {
    name: "container_fs_inodes_total",
    help: "Inodes of the file system with the writable layer.",
    type: MetricType.GAUGE,
    labels: onDevice,
    read: ofFilesystem(filesystem => filesystem.inodes),
  },
  {
    name: "container_fs_limit_bytes",
    help: "Bytes that the file system with the writable layer holds.",
    type: MetricType.GAUGE,
    labels: onDevice,
    read: ofFilesystem(filesystem => filesystem.sizeBytes),
  },
  {
    name: "container_fs_usage_bytes",
    help: "Bytes of the writable layer.",
    type: MetricType.GAUGE,
    labels: onDevice,
    read: ofFilesystem(filesystem => filesystem.usedBytes),
  },
];

const diskIo: readonly Metric[] = [
  {
    name: "container_fs_reads_bytes_total",
    help: "Bytes read from block devices.",
    type: MetricType.COUNTER,
    labels: onDevice,
    read: ofDevices(device => device.readBytes),
  },
  {
    name: "container_fs_reads_total",
    help: "Reads from block devices.",
    type: MetricType.COUNTER,
    labels: onDevice,
    read: ofDevices(device => device.reads),
  },
  {
    name: "container_fs_writes_bytes_total",
    help: "Bytes written to block devices.",
    type: MetricType.COUNTER,
    labels: onDevice,
    read: ofDevices(device => device.writeBytes),
  },
  {
    name: "container_fs_writes_total",
    help: "Writes to block devices.",
    type: MetricType.COUNTER,
    labels: onDevice,
    read: ofDevices(device => device.writes),
  },
  {
    name: "container_blkio_device_usage_total",
    help: "Bytes to and from block devices.",
    type: MetricType.COUNTER,
    labels: ["device", "major", "minor", "operation"],
    read: ({ devices }) =>
      devices.flatMap((device): Reading[] => {
        const labels = [device.name, String(device.major), String(device.minor)];
        return [
          [device.readBytes, ...labels, "Read"],
          [device.writeBytes, ...labels, "Write"],
        ];
      }),
  },
];

const hugepages: readonly Metric[] = [
  {
    name: "container_hugetlb_usage_bytes",
    help: "Bytes of huge pages.",
    type: MetricType.GAUGE,
    labels: ["pagesize"],
    read: sample => sample.hugepages.map(page => [page.usageBytes, page.pageSize]),
  },
  {
    name: "container_hugetlb_max_usage_bytes",
    help: "The most bytes of huge pages that were ever used.",
    type: MetricType.GAUGE,
    labels: ["pagesize"],
    read: sample => sample.hugepages.map(page => [page.peakBytes, page.pageSize]),
  },
];

const processes: readonly Metric[] = [
  gauge("container_processes", "Processes.", ({ processes }) => processes.processes),
  gauge("container_file_descriptors", "Open file descriptors.", ({ processes }) => processes.fileDescriptors),
  gauge("container_sockets", "Open sockets.", ({ processes }) => processes.sockets),
  gauge("container_threads", "Threads.", ({ usage, processes }) => usage.pids || processes.threads),
  gauge(
    "container_threads_max",
    "Threads that are allowed; 0 is no limit.",
    ({ usage }) => usage.pidsLimit ?? 0n,
  ),
  {
    name: "container_ulimits_soft",
    help: "Soft limits of the first process.",
    type: MetricType.GAUGE,
    labels: ["ulimit"],
    read: ({ openFilesLimit }) => [[openFilesLimit, "max_open_files"]],
  },
];

const specified: readonly Metric[] = [
  gauge(
    "container_spec_cpu_period",
    "Period of the CPU quota, in microseconds.",
    ({ limits }) => limits.cpuPeriodUs,
  ),
  gauge("container_spec_cpu_quota", "CPU quota of a period, in microseconds.", ({ limits }) =>
    limits.cpuQuotaUs === 0n ? undefined : limits.cpuQuotaUs,
  ),
  gauge("container_spec_cpu_shares", "CPU shares.", ({ limits }) => limits.cpuShares),
  gauge("container_spec_memory_limit_bytes", "Memory limit; 0 is none.", ({ limits }) => limits.memoryBytes),
  gauge(
    "container_spec_memory_reservation_limit_bytes",
    "Memory that is kept back for it; 0 is none.",
    ({ limits }) => limits.memoryReservationBytes,
  ),
  gauge(
    "container_spec_memory_swap_limit_bytes",
    "Limit of memory and swap together; 0 is none.",
    ({ limits }) => limits.memorySwapBytes,
  ),
  gauge("container_start_time_seconds", "When it was started, in seconds since the epoch.", sample =>
    seconds(sample.startedAtNs),
  ),
  gauge("container_last_seen", "When it was last looked at, in seconds since the epoch.", sample =>
    seconds(sample.nowNs),
  ),
];

const wholeSeconds = (pressure: Pressure | undefined, line: "some" | "full") => {
  const total = pressure?.[line]?.totalUs;
  return total === undefined ? undefined : total / 1_000_000n;
};

const pressure: readonly Metric[] = (["cpu", "memory", "io"] as const).flatMap(resource => [
  counter<ContainerSample>(
    `container_pressure_${resource}_waiting_seconds_total`,
    `Time for which at least one task has waited for ${resource}, in seconds.`,
    ({ usage }) => wholeSeconds(usage.pressure[resource], "some"),
  ),
  counter<ContainerSample>(
    `container_pressure_${resource}_stalled_seconds_total`,
    `Time for which all tasks have waited for ${resource}, in seconds.`,
    ({ usage }) => wholeSeconds(usage.pressure[resource], "full"),
  ),
]);

/** Metrics of a container by the names that cAdvisor gave them and the kubelet serves. */
export const containerMetrics: readonly Metric[] = [
  ...cpu,
  ...memory,
  ...disk,
  ...diskIo,
  ...hugepages,
  ...processes,
  ...specified,
  ...pressure,
];
