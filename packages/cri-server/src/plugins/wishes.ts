import { OcidError } from "@ocid/base";
import type { ServerContext } from "../server-context.ts";
import { describeContainer, describePod } from "./describe-pod.ts";
import { fitResources } from "./fit-resources.ts";
import { noteLimits } from "./note-limits.ts";
import type { PluginContainer, PluginHost, PluginUpdate, PluginWishes } from "./plugin-port.ts";

const evictionGraceMs = 30_000;

/** Starts plugins, which are told of what was found again. */
export async function startPlugins(context: ServerContext): Promise<void> {
  const { plugins, records } = context;
  for (const container of records.containers.values())
    if (container.state.status === "stopped") plugins.ended.set(container.id, Promise.resolve());
  await plugins.port?.start({ state: () => state(context), fulfil: wishes => fulfil(context, wishes) });
}

/** Carries out what plugins want of containers; what fails is logged and returned. */
export async function fulfil(
  context: ServerContext,
  { updates, evictions }: PluginWishes,
): Promise<readonly PluginUpdate[]> {
  const { logger } = context;
  for (const { containerId, reason } of evictions) {
    logger.warn("a plugin evicts a container", { container: containerId, reason });
    // Not awaited: it may take as long as the container likes.
    void evict(context, containerId).catch(error =>
      logger.warn("cannot evict a container", { container: containerId, error }),
    );
  }
  const failed = await Promise.all(
    updates.map(async update => {
      try {
        await applyUpdate(context, update);
        return [];
      } catch (error) {
        logger[update.ignoreFailure ? "info" : "warn"]("cannot change limits as a plugin wants", {
          container: update.containerId,
          error,
        });
        return [update];
      }
    }),
  );
  return failed.flat();
}

async function applyUpdate(context: ServerContext, { containerId, resources }: PluginUpdate): Promise<void> {
  const { records, ports, locks } = context;
  await locks.run(`limits ${containerId}`, async () => {
    const container = records.getContainer(containerId);
    const { status } = await ports.runtime.state(container.id);
    if (status !== "running" && status !== "created")
      throw new OcidError("FAILED_PRECONDITION", `container ${container.id.slice(0, 13)} is ${status}`);
    const fitting = fitResources(context, container.id, resources);
    await ports.runtime.updateResources(container.id, fitting);
    const present = records.getContainer(container.id);
    noteLimits(present, fitting);
    await records.saveContainer(present);
  });
}

async function evict({ records, ports }: ServerContext, id: string): Promise<void> {
  const container = records.getContainer(id);
  await ports.runtime.stop(container.id, {
    stopSignal: container.stopSignal,
    timeoutMs: evictionGraceMs,
  });
}

async function state(context: ServerContext): ReturnType<PluginHost["state"]> {
  const { records, plugins, ports } = context;
  const sandboxes = [
    ...[...records.sandboxes.values()].filter(sandbox => sandbox.phase === "ready"),
    ...[...plugins.running].filter(sandbox => sandbox.phase !== "ready"),
  ];
  const containers = [...records.containers.values()].filter(
    container =>
      plugins.making.has(container.id) ||
      (container.phase === "created" && container.state.status !== "stopped"),
  );
  const specs = new Map(plugins.making);
  const described = await Promise.all(
    containers.map(async (container): Promise<PluginContainer[]> => {
      try {
        const spec = specs.get(container.id) ?? (await ports.runtime.specOf(container.id));
        return [describeContainer(container, spec)];
      } catch (error) {
        // One that is gone meanwhile.
        context.logger.debug("a plugin is not told of a container", { container: container.id, error });
        return [];
      }
    }),
  );
  return {
    pods: await Promise.all(sandboxes.map(sandbox => describePod(context, sandbox))),
    containers: described.flat(),
  };
}
