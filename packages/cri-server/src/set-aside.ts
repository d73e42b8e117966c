import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { PodSandboxConfigSchema } from "@ocid/cri-api";
import { releaseCheckpoint } from "./checkpoint/restore-container.ts";
import type { DamagedRecord, Sandbox } from "./records.ts";
import { podCgroupParent } from "./runtime-config/cgroup-path.ts";
import { tearDown } from "./sandbox-run.ts";
import type { ServerContext } from "./server-context.ts";

/** Does one thing of a recovery; a failure is told, and does not stop the rest. */
export type Attempt = (what: string, work: () => Promise<void>) => Promise<void>;

/**
 * Stops what records are of that cannot be read, as far as the runtime, the network's notes and the pins know it, and
 * keeps all there is of it in the quarantine, out of the lists (docs/adr/0021). The containers of such a pod go with it.
 * Returns the ids of all containers that are kept so, now or earlier.
 */
export async function setAside(
  context: ServerContext,
  damaged: readonly DamagedRecord[],
  attempt: Attempt,
): Promise<ReadonlySet<string>> {
  const { records, logger } = context;
  for (const { kind, id, message } of damaged)
    logger.error("a record cannot be read; what it is of is stopped and kept in the quarantine", {
      ...{ [kind]: id, reason: message, quarantine: records.quarantine },
    });
  const pods = damaged.filter(({ kind }) => kind === "sandbox");
  const containers = new Map(damaged.filter(({ kind }) => kind === "container").map(d => [d.id, d.message]));
  // A kill between a pod and its containers is made up for.
  const earlier = [...records.setAsideIds("sandbox")].filter(id => !records.sandboxes.has(id));
  const lostPods = new Set([...pods.map(({ id }) => id), ...earlier]);
  for (const { id, sandboxId } of [...records.containers.values()]) {
    if (!lostPods.has(sandboxId)) continue;
    containers.set(id, `the record of its pod, ${sandboxId}, cannot be read`);
    records.containers.delete(id);
  }
  for (const [id, reason] of containers)
    await attempt(`set container ${id} aside`, () => setContainerAside(context, id, reason));
  for (const { id, message } of pods)
    await attempt(`set sandbox ${id} aside`, async () => {
      await tearDown(context, unknownSandbox(context, id));
      records.setAside("sandbox", id, message);
    });
  return new Set([...containers.keys(), ...records.setAsideIds("container")]);
}

/** Its writable layer stays in the store, and its configuration and exit code with the runtime. */
async function setContainerAside(context: ServerContext, id: string, reason: string): Promise<void> {
  const { ports, records } = context;
  await ports.runtime.stop(id, { stopSignal: "SIGTERM", timeoutMs: 0 });
  await ports.node.removeMounts(join(records.containerDirectory(id), "idmapped"));
  await releaseCheckpoint(context, id);
  await ports.rootfs.unmountImages(id);
  await ports.rootfs.unmount(id);
  records.setAside("container", id, reason);
}

/**
 * What can be known of a pod without its record. Its network is given back by what was noted of it, its pins and its
 * shared memory lie in its directory, and the cgroup is the one that a pod gets which names none. A pause container is
 * removed with those that belong to no record: there is nothing in it to keep.
 */
function unknownSandbox({ ports, records }: ServerContext, id: string): Sandbox {
  const { driver } = ports.node.cgroups();
  return {
    ...{ id, name: id, phase: "ready", handler: "", createdAtNs: 0n, ips: [], bootId: "" },
    config: create(PodSandboxConfigSchema),
    cgroupParent: podCgroupParent(driver, "", id),
    ownsCgroup: driver === "cgroupfs",
    hostNetwork: false,
    namespaces: { net: join(records.sandboxDirectory(id), "ns", "net") },
    pauseId: undefined,
    unanswered: false,
    stopping: true,
  };
}
