import { OcidError } from "@ocid/base";
import type { LinuxContainerResources } from "@ocid/cri-api";
import type { RuntimeResources } from "@ocid/spec";

/** What the node can limit; what it cannot is dropped with a line of log. */
export interface ResourceSupport {
  readonly hugetlb: boolean;
  readonly swap: boolean;
  /** Files of cgroup v2 by name. */
  readonly unified: boolean;
  readonly onDropped: (what: string) => void;
}

/** CPUs, or memory nodes, as the kernel's cpusets list them, such as `0-1,4`; none is empty. */
export const cpuList: RegExp = /^(\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*)?$/;

/** The CRI's limits as the runtime-spec's. Zero means that nothing is asked for. */
export function runtimeResources(
  request: LinuxContainerResources | undefined,
  support: ResourceSupport,
): RuntimeResources {
  if (!request) return {};
  checkResources(request);
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
    ...(swap !== 0n && support.swap ? { swap: number(swap) } : {}),
  };
  if (request.memorySwapLimitInBytes !== 0n && !support.swap)
    support.onDropped("memory_swap_limit_in_bytes: this node does not count swap");
  const unified = Object.keys(request.unified);
  if (unified.length > 0 && !support.unified)
    support.onDropped(`${unified.join(", ")}: this node has no cgroup v2`);
  const huge = request.hugepageLimits;
  if (huge.length > 0 && !support.hugetlb && huge.some(entry => entry.limit > 0n))
    support.onDropped("hugepage limits: this node has no hugetlb controller");
  return {
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...(Object.keys(memory).length > 0 ? { memory } : {}),
    ...(huge.length > 0 && support.hugetlb
      ? { hugepageLimits: huge.map(entry => ({ pageSize: entry.pageSize, limit: Number(entry.limit) })) }
      : {}),
    ...(unified.length > 0 && support.unified ? { unified: request.unified } : {}),
  };
}

function checkResources(request: LinuxContainerResources): void {
  const wrong = (field: string, value: unknown) =>
    new OcidError("INVALID_ARGUMENT", `${field} cannot be ${JSON.stringify(String(value)).slice(0, 100)}`);
  const least = {
    cpuPeriod: 0n,
    cpuQuota: -1n,
    cpuShares: 0n,
    memoryLimitInBytes: -1n,
    memorySwapLimitInBytes: -1n,
    oomScoreAdj: -1000n,
  } as const;
  for (const [field, minimum] of Object.entries(least)) {
    const value = request[field as keyof typeof least];
    if (value < minimum || (field === "oomScoreAdj" && value > 1000n)) throw wrong(field, value);
  }
  const { memoryLimitInBytes: memory, memorySwapLimitInBytes: swap } = request;
  // Memory and swap together (the runtime-spec's `swap`): never less than memory alone.
  if (swap > 0n && (memory <= 0n || swap < memory))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `memory_swap_limit_in_bytes ${swap} is memory and swap together, and less than memory_limit_in_bytes ${memory}`,
    );
  for (const field of ["cpusetCpus", "cpusetMems"] as const)
    if (!cpuList.test(request[field])) throw wrong(field, request[field]);
  for (const { pageSize } of request.hugepageLimits)
    if (!/^[1-9]\d{0,9}(KB|MB|GB)$/.test(pageSize)) throw wrong("hugepage_limits.page_size", pageSize);
  for (const [file, value] of Object.entries(request.unified))
    if (!/^[a-z][a-z0-9_.-]{0,99}$/i.test(file) || /[\0]/.test(value)) throw wrong(`unified ${file}`, value);
}
