import { OcidError } from "@ocid/base";
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
import { cgroupOfRecord } from "./container-cgroups.ts";
import type { ShimFiles } from "./container-files.ts";

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
  readonly #files: ShimFiles;
  readonly #rates = new Map<string, CpuRate>();
  /** Of containers whose usage is asked for; a container's cgroup stays where it is. */
  readonly #cgroups = new Map<string, Cgroup>();

  constructor(files: ShimFiles) {
    this.#files = files;
  }

  /** FAILED_PRECONDITION when the container has ended. */
  read(id: string, parts?: readonly CgroupUsagePart[]): ContainerUsage {
    return this.#read(id, this.#liveCgroup(id), parts);
  }

  /** FAILED_PRECONDITION when the container has ended. */
  async measure(id: string): Promise<ContainerMeasurements> {
    const cgroup = this.#liveCgroup(id);
    const initPid = this.#files.getRecord(id).init?.pid;
    const { devices, ...details } = readCgroupDetails(cgroup);
    const usage = this.#read(id, cgroup);
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
    this.#cgroups.delete(id);
  }

  #liveCgroup(id: string): Cgroup {
    const cgroup = this.#cgroups.get(id) ?? cgroupOfRecord(this.#files.getRecord(id));
    if (!cgroup?.exists()) {
      this.#cgroups.delete(id);
      throw new OcidError("FAILED_PRECONDITION", `container ${id} has no cgroup any more; it has ended`);
    }
    this.#cgroups.set(id, cgroup);
    return cgroup;
  }

  #read(id: string, cgroup: Cgroup, parts?: readonly CgroupUsagePart[]): ContainerUsage {
    const usage = cgroup.usage(parts);
    const nanoCores = this.#rate(id, usage);
    return {
      ...usage,
      ...(nanoCores === undefined ? {} : { cpuNanoCores: nanoCores }),
      pressure: cgroup.pressure(),
    };
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
