import { isOcidError } from "@ocid/base";
import type { RuntimeState } from "./ports.ts";
import type { Container } from "./records.ts";
import { containerCgroupDirectory } from "./runtime-config/cgroup-path.ts";
import { nowNs, type ServerContext } from "./server-context.ts";

/** Of a container whose end nobody saw. */
const unknownExitCode = 255;

/**
 * A container's state by the runtime and the kernel. The runtime knows nothing any more of one that is being removed
 * (its record goes last), or whose files are lost (deleted, or on a tmpfs that a reboot has emptied): that one has ended,
 * and may be asked about until it is removed.
 */
export async function readContainerState(
  { ports }: Pick<ServerContext, "ports">,
  container: Pick<Container, "id" | "state" | "end">,
): Promise<RuntimeState> {
  try {
    return await ports.runtime.state(container.id);
  } catch (error) {
    if (!isOcidError(error, "NOT_FOUND")) throw error;
    if (container.state.status === "stopped") return container.state;
    return { status: "stopped", ...(container.end ?? unknownEnd()) };
  }
}

/**
 * Writes the end of a container down of which the runtime has lost everything, so that it is the same at each look, and
 * ends what may still run of it: nobody else knows it any more.
 */
export async function noteLostContainer(context: ServerContext, container: Container): Promise<void> {
  const { ports, records, logger } = context;
  if (container.end !== undefined || (await isKnownToRuntime(context, container.id))) return;
  const parent = records.sandboxes.get(container.sandboxId)?.cgroupParent;
  if (parent !== undefined)
    await ports.node.removePodCgroup(
      containerCgroupDirectory(ports.node.cgroups().driver, parent, container.id),
    );
  container.end = unknownEnd();
  await records.saveContainer(container);
  logger.warn("the runtime has lost what it had of a container; it counts as ended", {
    container: container.id,
  });
}

function unknownEnd(): NonNullable<Container["end"]> {
  return { exitCode: unknownExitCode, finishedAtNs: nowNs(), oomKilled: false };
}

/** False when the runtime has no files of it; a failure to tell is no such answer. */
export async function isKnownToRuntime(
  { ports }: Pick<ServerContext, "ports">,
  id: string,
): Promise<boolean> {
  return await ports.runtime.state(id).then(
    () => true,
    error => !isOcidError(error, "NOT_FOUND"),
  );
}
