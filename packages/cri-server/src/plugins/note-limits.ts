import { create } from "@bufbuild/protobuf";
import { type LinuxContainerResources, LinuxContainerResourcesSchema } from "@ocid/cri-api";
import { mergeResources, type RuntimeResources } from "@ocid/spec";
import type { Container } from "../records.ts";

/** Notes limits that are not what the CRI asked for. */
export function noteLimits(container: Container, resources: RuntimeResources): void {
  container.resources = mergeResources(container.resources ?? {}, resources);
}

/** The limits that a container's status shows: those that were asked for, but for what its workload and plugins have changed. */
export function shownLimits({ config, resources }: Container): LinuxContainerResources | undefined {
  if (!resources) return config.linux?.resources;
  const asked = config.linux?.resources ?? create(LinuxContainerResourcesSchema);
  const { cpu, memory, hugepageLimits, unified } = resources;
  return {
    ...asked,
    ...(cpu?.shares === undefined ? {} : { cpuShares: BigInt(cpu.shares) }),
    ...(cpu?.quota === undefined ? {} : { cpuQuota: BigInt(cpu.quota) }),
    ...(cpu?.period === undefined ? {} : { cpuPeriod: BigInt(cpu.period) }),
    ...(cpu?.cpus === undefined ? {} : { cpusetCpus: cpu.cpus }),
    ...(cpu?.mems === undefined ? {} : { cpusetMems: cpu.mems }),
    ...(memory?.limit === undefined ? {} : { memoryLimitInBytes: BigInt(memory.limit) }),
    ...(memory?.swap === undefined ? {} : { memorySwapLimitInBytes: BigInt(memory.swap) }),
    ...(unified ? { unified: { ...asked.unified, ...unified } } : {}),
    ...(hugepageLimits
      ? {
          hugepageLimits: hugepageLimits.map(({ pageSize, limit }) => ({
            $typeName: "runtime.v1.HugepageLimit" as const,
            pageSize,
            limit: BigInt(limit),
          })),
        }
      : {}),
  };
}
