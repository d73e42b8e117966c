/** How long tasks waited for a resource (kernel docs, accounting/psi). */
export interface PressureLine {
  /** Percents of the last 10, 60 and 300 seconds. */
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly totalUs: bigint;
}

export interface Pressure {
  /** At least one task waited. */
  readonly some: PressureLine;
  /** All tasks waited. */
  readonly full?: PressureLine;
}

/** What a container or a pod's cgroup uses. Undefined where the kernel does not say, or there is no limit. */
export interface ContainerUsage {
  readonly timestampNs: bigint;
  readonly cpuUsageNs: bigint;
  /** Over the time since an earlier look. */
  readonly cpuNanoCores?: bigint;
  readonly memoryUsageBytes: bigint;
  readonly memoryWorkingSetBytes: bigint;
  readonly memoryAvailableBytes?: bigint;
  readonly memoryRssBytes: bigint;
  readonly memoryPageFaults: bigint;
  readonly memoryMajorPageFaults: bigint;
  readonly swapUsageBytes?: bigint;
  readonly swapAvailableBytes?: bigint;
  /** Tasks: threads count each. */
  readonly pids?: bigint;
  readonly pidsLimit?: bigint;
  /** Traffic with block devices, all together. */
  readonly io?: { readonly readBytes: bigint; readonly writeBytes: bigint };
  readonly pressure: { readonly cpu?: Pressure; readonly memory?: Pressure; readonly io?: Pressure };
}

/** What is told of usage only where it is asked for, because it takes further looks: `pids`, and `io`. */
export type UsagePart = "tasks" | "traffic";

/** What monitoring wants of a container beyond its usage; a limit of 0 is none. */
export interface ContainerMeasurements {
  /** From the root of each hierarchy. */
  readonly cgroupPath: string;
  readonly usage: ContainerUsage;
  readonly cpu: {
    readonly userNs: bigint | undefined;
    readonly systemNs: bigint | undefined;
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
    readonly peakBytes: bigint | undefined;
    readonly failures: bigint;
    readonly ownPageFaults: bigint | undefined;
    readonly ownMajorPageFaults: bigint | undefined;
  };
  readonly limits: {
    readonly cpuShares: bigint;
    readonly cpuPeriodUs: bigint;
    readonly cpuQuotaUs: bigint;
    readonly memoryBytes: bigint;
    readonly memoryReservationBytes: bigint;
    readonly memorySwapBytes: bigint;
  };
  readonly devices: readonly {
    /** `/dev/vda`; empty for one that has gone. */
    readonly name: string;
    readonly major: number;
    readonly minor: number;
    readonly readBytes: bigint;
    readonly writeBytes: bigint;
    readonly reads: bigint;
    readonly writes: bigint;
  }[];
  readonly hugepages: readonly {
    /** `2MB` … */
    readonly pageSize: string;
    readonly usageBytes: bigint;
    readonly peakBytes: bigint | undefined;
  }[];
  readonly oomKills: bigint;
  readonly processes: {
    readonly processes: bigint;
    readonly threads: bigint;
    readonly fileDescriptors: bigint;
    readonly sockets: bigint;
  };
  /** How many files its first process may open; undefined without a limit. */
  readonly openFilesLimit: bigint | undefined;
}

/** Counters of a network interface since it was made. */
export interface NetworkInterfaceUsage {
  readonly name: string;
  readonly rxBytes: bigint;
  readonly rxPackets: bigint;
  readonly rxErrors: bigint;
  readonly rxDropped: bigint;
  readonly txBytes: bigint;
  readonly txPackets: bigint;
  readonly txErrors: bigint;
  readonly txDropped: bigint;
}
