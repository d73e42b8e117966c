import type { LinuxContainerResources } from "@ocid/cri-api";
import type { RuntimeResources } from "@ocid/spec";

/** What the node can limit; what it cannot is dropped with a line of log. */
export interface ResourceSupport {
  readonly hugetlb: boolean;
  readonly swap: boolean;
  readonly onDropped: (what: string) => void;
}

/** The CRI's limits as the runtime-spec's. Zero means that nothing is asked for. */
export function runtimeResources(
  request: LinuxContainerResources | undefined,
  support: ResourceSupport,
): RuntimeResources {
  if (!request) return {};
  const number = (value: bigint) => Number(value);
  const cpu: NonNullable<RuntimeResources["cpu"]> = {
    ...(request.cpuShares !== 0n ? { shares: number(request.cpuShares) } : {}),
    ...(request.cpuQuota !== 0n ? { quota: number(request.cpuQuota) } : {}),
    ...(request.cpuPeriod !== 0n ? { period: number(request.cpuPeriod) } : {}),
    ...(request.cpusetCpus !== "" ? { cpus: request.cpusetCpus } : {}),
    ...(request.cpusetMems !== "" ? { mems: request.cpusetMems } : {}),
  };
  const limit = request.memoryLimitInBytes;
  const swap = request.memorySwapLimitInBytes !== 0n ? request.memorySwapLimitInBytes : limit;
  const memory: NonNullable<RuntimeResources["memory"]> = {
    ...(limit !== 0n ? { limit: number(limit) } : {}),
    // Without a word on swap a container may not swap beyond its memory.
    ...(limit !== 0n && support.swap ? { swap: number(swap) } : {}),
  };
  const huge = request.hugepageLimits.filter(entry => entry.pageSize !== "");
  if (huge.length > 0 && !support.hugetlb && huge.some(entry => entry.limit > 0n))
    support.onDropped("hugepage limits: this node has no hugetlb controller");
  return {
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...(Object.keys(memory).length > 0 ? { memory } : {}),
    ...(huge.length > 0 && support.hugetlb
      ? { hugepageLimits: huge.map(entry => ({ pageSize: entry.pageSize, limit: Number(entry.limit) })) }
      : {}),
    ...(Object.keys(request.unified).length > 0 ? { unified: request.unified } : {}),
  };
}
