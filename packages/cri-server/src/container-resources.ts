import { create } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import type { UpdateContainerResourcesRequest } from "@ocid/cri-api";
import {
  ContainerConfigSchema,
  LinuxContainerConfigSchema,
  LinuxContainerResourcesSchema,
} from "@ocid/cri-api";
import { askToUpdate, tellOfContainer } from "./plugins/container-events.ts";
import { noteLimits } from "./plugins/note-limits.ts";
import type { CallOptions } from "./ports.ts";
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
  await context.locks.run(`container ${container.id}`, async () => {
    const state = await ports.runtime.state(container.id);
    if (state.status !== "running" && state.status !== "created")
      throw new OcidError(
        "FAILED_PRECONDITION",
        `container ${container.id.slice(0, 13)} is ${state.status}, so its limits cannot be changed`,
      );
    const cgroups = ports.node.cgroups();
    const resources = runtimeResources(request.linux, {
      hugetlb: cgroups.hugetlb,
      swap: cgroups.swap,
      unified: cgroups.version === 2,
      onDropped: what => logger.info("dropped what this node cannot do", { container: container.id, what }),
    });
    const wanted = await askToUpdate(context, container, resources);
    await context.locks.run(`limits ${container.id}`, async () => {
      await ports.runtime.updateResources(container.id, wanted, options);
      // What plugins have set before must not show through.
      if (wanted !== resources || container.resources) noteLimits(container, wanted);
    });
    const before = container.config.linux?.resources ?? create(LinuxContainerResourcesSchema);
    const changed = Object.fromEntries(
      Object.entries(request.linux ?? {}).filter(
        ([key, value]) =>
          key !== "$typeName" &&
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
