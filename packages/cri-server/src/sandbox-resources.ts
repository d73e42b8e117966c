import { create } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import {
  type LinuxContainerResources,
  LinuxContainerResourcesSchema,
  LinuxPodSandboxConfigSchema,
  PodSandboxConfigSchema,
  type UpdatePodSandboxResourcesRequest,
} from "@ocid/cri-api";
import { askToUpdatePod, tellOfPod } from "./plugins/pod-events.ts";
import { runtimeResources } from "./runtime-config/resources.ts";
import type { ServerContext } from "./server-context.ts";

/**
 * Notes what a pod may use after the kubelet has resized it. The kubelet has changed the pod's cgroup already, unless
 * the cgroup is ours: then it is limited here. INVALID_ARGUMENT for limits that are none.
 */
export async function updateSandboxResources(
  context: ServerContext,
  request: UpdatePodSandboxResourcesRequest,
): Promise<void> {
  const { ports, records, logger } = context;
  const { id } = records.getSandbox(request.podSandboxId);
  await context.locks.run(`sandbox ${id}`, async () => {
    const sandbox = records.getSandbox(id);
    if (sandbox.phase !== "ready")
      throw new OcidError(
        "FAILED_PRECONDITION",
        `pod sandbox ${id.slice(0, 13)} is not ready, so its limits cannot be changed`,
      );
    const cgroups = ports.node.cgroups();
    const support = {
      hugetlb: cgroups.hugetlb,
      swap: cgroups.swap,
      unified: cgroups.version === 2,
      onDropped: (what: string) => logger.info("dropped what this node cannot do", { sandbox: id, what }),
    };
    // Each by itself first, so that a mistake in one is not hidden by the other.
    const limits = {
      overhead: runtimeResources(request.overhead, support),
      resources: runtimeResources(request.resources, support),
    };
    await askToUpdatePod(context, sandbox, limits);
    const linux = sandbox.config.linux ?? create(LinuxPodSandboxConfigSchema);
    const overhead = request.overhead ?? linux.overhead;
    const resources = request.resources ?? linux.resources;
    if (sandbox.ownsCgroup)
      await ports.node.limitPodCgroup(
        sandbox.cgroupParent,
        runtimeResources(together(overhead, resources), support),
      );
    sandbox.config = create(PodSandboxConfigSchema, {
      ...sandbox.config,
      linux: create(LinuxPodSandboxConfigSchema, {
        ...linux,
        ...(overhead ? { overhead } : {}),
        ...(resources ? { resources } : {}),
      }),
    });
    await records.saveSandbox(sandbox);
    await tellOfPod(context, "postUpdate", sandbox);
  });
}

/** What the pod's containers may use and what it takes to run them; one without a limit leaves both without. */
export function together(
  overhead: LinuxContainerResources | undefined,
  resources: LinuxContainerResources | undefined,
): LinuxContainerResources {
  if (!overhead || !resources) return resources ?? create(LinuxContainerResourcesSchema);
  const sum = (key: "memoryLimitInBytes" | "memorySwapLimitInBytes") =>
    resources[key] > 0n ? resources[key] + overhead[key] : resources[key];
  const quota =
    resources.cpuQuota > 0n && overhead.cpuQuota > 0n
      ? // Of different periods: as much of the pod's period as the overhead has of its own.
        resources.cpuQuota + (overhead.cpuQuota * period(resources)) / period(overhead)
      : resources.cpuQuota;
  return create(LinuxContainerResourcesSchema, {
    ...resources,
    cpuShares: resources.cpuShares + overhead.cpuShares,
    cpuQuota: quota,
    memoryLimitInBytes: sum("memoryLimitInBytes"),
    memorySwapLimitInBytes: sum("memorySwapLimitInBytes"),
  });
}

/** 100 ms is the kernel's own. */
function period({ cpuPeriod }: LinuxContainerResources): bigint {
  return cpuPeriod > 0n ? cpuPeriod : 100_000n;
}
