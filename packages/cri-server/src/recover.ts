import { wrapError } from "@ocid/base";
import { releaseCheckpoint } from "./checkpoint/restore-container.ts";
import { removeContainerParts } from "./container-remove.ts";
import { noteLostContainer, readContainerState } from "./container-state.ts";
import type { Container } from "./records.ts";
import { tearDown } from "./sandbox-run.ts";
import { nowNs, type ServerContext } from "./server-context.ts";
import { type Attempt, setAside } from "./set-aside.ts";

/**
 * Finds everything again after a restart: what was half made or half removed is undone in reverse order, what a reboot
 * has ended is noted as stopped, what belongs to no record is removed, and what has a record that cannot be read is
 * stopped and set aside. One thing that cannot be mended does not stop the rest.
 */
export async function recover(context: ServerContext): Promise<void> {
  const { records, logger } = context;
  const damaged = records.load();
  const attempt: Attempt = async (what, work) => {
    await work().catch(error =>
      logger.error("recovery left something undone; it is tried again at the next start", {
        what,
        error: wrapError(what, error),
      }),
    );
  };
  const kept = await setAside(context, damaged, attempt);
  for (const container of [...records.containers.values()]) {
    const owned = container.phase === "created" && records.sandboxes.has(container.sandboxId);
    if (owned && !records.isBeingRemoved(container.id)) continue;
    await attempt(`remove container ${container.id}, which was left half made or half removed`, async () => {
      await removeContainerParts(context, container);
      records.deleteContainer(container.id);
    });
  }
  for (const sandbox of [...records.sandboxes.values()]) {
    if (sandbox.phase === "creating") {
      await attempt(`remove sandbox ${sandbox.id}, which was left half made`, async () => {
        await tearDown(context, sandbox);
        records.deleteSandbox(sandbox.id);
      });
    } else if (sandbox.phase === "ready" && sandbox.bootId !== context.bootId) {
      await attempt(`stop sandbox ${sandbox.id}, which a reboot has ended`, async () => {
        await tearDown(context, sandbox);
        sandbox.phase = "stopped";
        await records.saveSandbox(sandbox);
      });
    }
  }
  await attempt("remove what belongs to no record", () => removeOrphans(context, kept));
  for (const container of records.containers.values()) {
    await attempt(`look at container ${container.id}`, async () => {
      await noteLostContainer(context, container);
      container.state = await readContainerState(context, container);
      await noteStart(context, container);
      // What has ended while nobody was there is seen in the next list; no listener waits for it.
      container.endTold = container.state.status === "stopped";
    });
  }
  logger.info("recovered", { sandboxes: records.sandboxes.size, containers: records.containers.size });
}

/** A kill came between the start of a container and the note of it; what has started by now has done so about now. */
async function noteStart({ records }: ServerContext, container: Container): Promise<void> {
  if (container.startedAtNs !== 0n || container.state.status !== "running") return;
  container.startedAtNs = nowNs();
  await records.saveContainer(container);
}

async function removeOrphans(context: ServerContext, kept: ReadonlySet<string>): Promise<void> {
  const { records, ports, logger } = context;
  const pauses = new Set([...records.sandboxes.values()].map(sandbox => sandbox.pauseId));
  for (const id of await ports.runtime.list()) {
    if (records.containers.has(id) || pauses.has(id) || kept.has(id)) continue;
    logger.warn("removing a container that no record knows", { container: id });
    await ports.runtime.remove(id);
  }
  for (const { id } of await ports.rootfs.list()) {
    if (records.containers.has(id) || kept.has(id)) continue;
    logger.warn("removing a root file system that no record knows", { container: id });
    await releaseCheckpoint(context, id);
    await ports.rootfs.unmountImages(id);
    await ports.rootfs.remove(id);
  }
}
