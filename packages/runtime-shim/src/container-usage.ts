import {
  blockDeviceName,
  type Cgroup,
  type CgroupDetails,
  type CgroupPressure,
  type CgroupUsage,
  type CgroupUsagePart,
  type DeviceIo,
  type ProcessUsage,
  readCgroupDetails,
  readOpenFilesLimit,
  readProcessUsage,
} from "@ocid/host";

/** What a container uses, and how long its tasks waited for it. */
export interface ContainerUsage extends CgroupUsage {
  /** Over the time since an earlier look, of a second at least; undefined at the first. */
  readonly cpuNanoCores?: bigint;
  readonly pressure: CgroupPressure;
}

/** What monitoring wants of a container. */
export interface ContainerMeasurements extends Omit<CgroupDetails, "devices"> {
  /** From the root of each hierarchy. */
  readonly cgroupPath: string;
  readonly usage: ContainerUsage;
  readonly devices: readonly (DeviceIo & { readonly name: string })[];
  readonly processes: ProcessUsage;
  /** Of the first process; undefined without a limit. */
  readonly openFilesLimit: bigint | undefined;
}

/** Two looks that are closer than this tell nothing of a rate. */
const leastRateNs = 1_000_000_000n;

interface CpuRate {
  readonly atNs: bigint;
  readonly usedNs: bigint;
  readonly nanoCores: bigint | undefined;
}

/** Looks at cgroups, and remembers the last look of each container for the rate of its CPU. */
export class UsageReader {
  readonly #rates = new Map<string, CpuRate>();

  read(id: string, cgroup: Cgroup, parts?: readonly CgroupUsagePart[]): ContainerUsage {
    const usage = cgroup.usage(parts);
    const nanoCores = this.#rate(id, usage);
    return {
      ...usage,
      ...(nanoCores === undefined ? {} : { cpuNanoCores: nanoCores }),
      pressure: cgroup.pressure(),
    };
  }

  async measure(id: string, cgroup: Cgroup, initPid: number | undefined): Promise<ContainerMeasurements> {
    const { devices, ...details } = readCgroupDetails(cgroup);
    const usage = this.read(id, cgroup);
    return {
      ...details,
      cgroupPath: cgroup.path,
      usage,
      devices: devices.map(device => ({ ...device, name: blockDeviceName(device.major, device.minor) })),
      processes: await readProcessUsage(cgroup.processes(true)),
      openFilesLimit: initPid === undefined ? undefined : await readOpenFilesLimit(initPid),
    };
  }

  forget(id: string): void {
    this.#rates.delete(id);
  }

  #rate(id: string, usage: CgroupUsage): bigint | undefined {
    const before = this.#rates.get(id);
    const elapsed = before ? usage.timestampNs - before.atNs : 0n;
    if (before && elapsed < leastRateNs) return before.nanoCores;
    const used = before ? usage.cpuUsageNs - before.usedNs : 0n;
    const nanoCores = before && used >= 0n ? (used * 1_000_000_000n) / elapsed : undefined;
    this.#rates.set(id, { atNs: usage.timestampNs, usedNs: usage.cpuUsageNs, nanoCores });
    return nanoCores;
  }
}
