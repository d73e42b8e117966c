import type { RuntimeResources } from "@ocid/spec";
import type { ServerContext } from "../server-context.ts";

/** Limits that plugins want, without those that this node does not have; what is dropped is a line of log. */
export function fitResources(
  { ports, logger }: ServerContext,
  container: string,
  resources: RuntimeResources,
): RuntimeResources {
  const { hugetlb, swap, version } = ports.node.cgroups();
  const { hugepageLimits, unified, memory, ...rest } = resources;
  const { swap: swapLimit, ...withoutSwap } = memory ?? {};
  const dropped = [
    ...(hugepageLimits && !hugetlb ? ["hugepage limits"] : []),
    ...(unified && version === 1 ? Object.keys(unified) : []),
    ...(swapLimit !== undefined && swapLimit !== memory?.limit && !swap ? ["swap limit"] : []),
  ];
  if (dropped.length > 0)
    logger.info("dropped what this node cannot do", { container, what: dropped.join(", ") });
  return {
    ...rest,
    ...(hugepageLimits && hugetlb ? { hugepageLimits } : {}),
    ...(unified && version === 2 ? { unified } : {}),
    ...(memory ? { memory: swap ? memory : withoutSwap } : {}),
  };
}
