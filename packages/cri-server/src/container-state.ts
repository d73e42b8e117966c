import { isOcidError } from "@ocid/base";
import type { RuntimeState } from "./ports.ts";
import type { Container } from "./records.ts";
import { nowNs, type ServerContext } from "./server-context.ts";

/** Of a container whose end nobody saw. */
const unknownExitCode = 255;

/**
 * A container's state by the runtime and the kernel. The runtime knows nothing any more of one that is being removed
 * (its record goes last), or whose files somebody has deleted: that one has ended, and may be asked about until it is gone.
 */
export async function readContainerState(
  { ports }: Pick<ServerContext, "ports">,
  container: Pick<Container, "id" | "state">,
): Promise<RuntimeState> {
  try {
    return await ports.runtime.state(container.id);
  } catch (error) {
    if (!isOcidError(error, "NOT_FOUND")) throw error;
    if (container.state.status === "stopped") return container.state;
    return { status: "stopped", exitCode: unknownExitCode, finishedAtNs: nowNs(), oomKilled: false };
  }
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
