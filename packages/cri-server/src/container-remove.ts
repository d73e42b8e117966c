import { releaseCheckpoint } from "./checkpoint/restore-container.ts";
import { readContainerState } from "./container-state.ts";
import { releaseIdmapped } from "./container-volumes.ts";
import { askToStart, tellOfContainer, tellOfEnd } from "./plugins/container-events.ts";
import type { CallOptions } from "./ports.ts";
import type { Container } from "./records.ts";
import { nowNs, type ServerContext } from "./server-context.ts";

/** Removes a container, ending it if it runs; what is gone already is no error. */
export async function removeContainer(context: ServerContext, id: string): Promise<void> {
  const container = context.records.findContainer(id);
  if (!container || container.phase === "creating") return;
  await discardContainer(context, container);
}

/** Removes a container in whichever state it is, half made too. */
export async function discardContainer(context: ServerContext, container: Container): Promise<void> {
  await context.locks.run(`container ${container.id}`, async () => {
    if (context.plugins.active) await tellOfRemoval(context, container);
    await removeContainerParts(context, container);
    context.records.deleteContainer(container.id);
  });
}

/** Plugins hear of a container's end before they hear of its removal. */
async function tellOfRemoval(context: ServerContext, container: Container): Promise<void> {
  const { runtime } = context.ports;
  const { status } = await readContainerState(context, container);
  if (status === "running")
    await runtime.stop(container.id, { stopSignal: container.stopSignal, timeoutMs: 0 });
  if (container.startedAtNs !== 0n) await tellOfEnd(context, container);
  await tellOfContainer(context, "remove", container);
}

/** Everything of a container but its record, which goes last: a removal that is interrupted is taken up again. */
export async function removeContainerParts(context: ServerContext, container: Container): Promise<void> {
  const { ports, records } = context;
  records.noteRemoval(container.id);
  await ports.runtime.remove(container.id);
  await releaseIdmapped(context, container);
  await releaseCheckpoint(context, container.id);
  await ports.rootfs.unmountImages(container.id);
  await ports.rootfs.remove(container.id);
}

/** Stops a container: its stop signal, SIGKILL after `timeoutSeconds`. */
export async function stopContainer(
  context: ServerContext,
  id: string,
  timeoutSeconds: bigint,
  options: CallOptions,
): Promise<void> {
  const container = context.records.findContainer(id);
  if (!container || container.phase === "creating") return;
  const seconds = timeoutSeconds < 0n ? 0 : Number(timeoutSeconds);
  await context.ports.runtime.stop(
    container.id,
    { stopSignal: container.stopSignal, timeoutMs: seconds * 1000 },
    options,
  );
  container.state = await readContainerState(context, container);
  await tellOfEnd(context, container);
}

export async function startContainer(
  context: ServerContext,
  id: string,
  options: CallOptions,
): Promise<void> {
  const container = context.records.getContainer(id);
  await context.locks.run(`container ${container.id}`, async () => {
    await askToStart(context, container);
    // Taken before, because a short life may be over when the call returns.
    const startedAtNs = nowNs();
    await context.ports.runtime.start(container.id, options);
    container.startedAtNs = startedAtNs;
    container.state = await context.ports.runtime.state(container.id);
    await context.records.saveContainer(container);
    // All of it is in memory now; what cannot be given back goes with the container.
    if (container.restored)
      await releaseCheckpoint(context, container.id).catch(error =>
        context.logger.warn("a restored container's checkpoint stays mounted", {
          container: container.id,
          error,
        }),
      );
    await tellOfContainer(context, "postStart", container);
  });
}
