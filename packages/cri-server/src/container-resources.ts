import { create } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import type { LinuxContainerResources, UpdateContainerResourcesRequest } from "@ocid/cri-api";
import {
  ContainerConfigSchema,
  LinuxContainerConfigSchema,
  LinuxContainerResourcesSchema,
} from "@ocid/cri-api";
import { mergeResources } from "@ocid/spec";
import { pinnedCpu } from "./node-adjustments.ts";
import { askToUpdate, tellOfContainer } from "./plugins/container-events.ts";
import { noteLimits } from "./plugins/note-limits.ts";
import type { CallOptions } from "./ports.ts";
import type { Container } from "./records.ts";
import { runtimeResources } from "./runtime-config/resources.ts";
import type { ServerContext } from "./server-context.ts";

/** Changes a container's limits; what is zero in the request stays as it is. The status shows the new ones. */
export async function updateContainerResources(
  context: ServerContext,
  request: UpdateContainerResourcesRequest,
  options: CallOptions,
): Promise<void> {
  const container = context.records.getContainer(request.containerId);
  const { ports, logger, records } = context;
  if (request.windows)
    throw new OcidError("INVALID_ARGUMENT", "the request has Windows limits; this is a Linux node");
  await context.locks.run(`container ${container.id}`, async () => {
    const state = await ports.runtime.state(container.id);
    if (state.status !== "running" && state.status !== "created")
      throw new OcidError(
        "FAILED_PRECONDITION",
        `container ${container.id.slice(0, 13)} is ${state.status}, so its limits cannot be changed`,
      );
    const cgroups = ports.node.cgroups();
    const asked = runtimeResources(request.linux, {
      hugetlb: cgroups.hugetlb,
      swap: cgroups.swap,
      unified: cgroups.version === 2,
      onDropped: what => logger.info("dropped what this node cannot do", { container: container.id, what }),
    });
    // What the kubelet's CPU manager says is not for pods that are pinned.
    const cpu = pinnedCpu(context, records.getSandbox(container.sandboxId), container.config.metadata!.name);
    const resources = cpu ? mergeResources(asked, { cpu }) : asked;
    const before = container.config.linux?.resources ?? create(LinuxContainerResourcesSchema);
    logLeft(context, container, request, before);
    const wanted = await askToUpdate(context, container, resources);
    await context.locks.run(`limits ${container.id}`, async () => {
      await ports.runtime.updateResources(container.id, wanted, options);
      // What plugins have set before must not show through.
      if (wanted !== asked || container.resources) noteLimits(container, wanted);
    });
    const changed = Object.fromEntries(
      Object.entries(request.linux ?? {}).filter(
        ([key, value]) =>
          key !== "$typeName" &&
          key !== "oomScoreAdj" &&
          value !== 0n &&
          value !== "" &&
          !(Array.isArray(value) && value.length === 0),
      ),
    );
    const linux = create(LinuxContainerConfigSchema, {
      ...container.config.linux,
      resources: create(LinuxContainerResourcesSchema, { ...before, ...changed }),
    });
    const updated = {
      ...container,
      config: create(ContainerConfigSchema, { ...container.config, linux }),
    };
    await records.saveContainer(updated);
    await tellOfContainer(context, "postUpdate", updated);
  });
}

/** What an update cannot change is told; the status goes on to show what holds. */
function logLeft(
  { logger }: ServerContext,
  container: Container,
  { linux, annotations }: UpdateContainerResourcesRequest,
  before: LinuxContainerResources,
): void {
  const score = linux?.oomScoreAdj ?? 0n;
  const names = Object.keys(annotations);
  const left = [
    ...(score !== 0n && score !== before.oomScoreAdj
      ? ["oom_score_adj, which is given at the creation"]
      : []),
    ...(names.length > 0 ? [`annotations (${names.join(", ").slice(0, 200)}), of which none is known`] : []),
  ];
  if (left.length > 0)
    logger.info("left what an update does not change", { container: container.id, what: left.join("; ") });
}
