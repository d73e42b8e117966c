import { OcidError } from "@ocid/base";
import { type ContainerConfig, NamespaceMode } from "@ocid/cri-api";
import type { Sandbox } from "./records.ts";
import type { ServerContext } from "./server-context.ts";

/** Path of the pid namespace that a container joins; undefined where it has one of its own or the node's. */
export async function pidNamespaceOf(
  context: ServerContext,
  sandbox: Sandbox,
  config: ContainerConfig,
): Promise<string | undefined> {
  const { records, ports } = context;
  const options = config.linux?.securityContext?.namespaceOptions;
  const mode =
    options?.pid ?? sandbox.config.linux?.securityContext?.namespaceOptions?.pid ?? NamespaceMode.POD;
  if (mode === NamespaceMode.TARGET) {
    const target = records.getContainer(options?.targetId ?? "");
    if (target.sandboxId !== sandbox.id)
      throw new OcidError(
        "INVALID_ARGUMENT",
        `container ${target.id.slice(0, 13)}, whose processes are to be seen, is in another pod`,
      );
    const state = await ports.runtime.state(target.id);
    if (state.status !== "running")
      throw new OcidError(
        "FAILED_PRECONDITION",
        `container ${target.id.slice(0, 13)}, whose processes are to be seen, is not running`,
      );
    return `/proc/${state.pid}/ns/pid`;
  }
  if (mode !== NamespaceMode.POD) return undefined;
  if (sandbox.pauseId === undefined)
    throw new OcidError(
      "INVALID_ARGUMENT",
      "the container is to share the pod's pid namespace, but the pod has none",
    );
  const state = await ports.runtime.state(sandbox.pauseId);
  if (state.status !== "running")
    throw new OcidError(
      "FAILED_PRECONDITION",
      `the process that holds the pid namespace of pod ${sandbox.id.slice(0, 13)} has ended; the pod must be made again`,
    );
  return `/proc/${state.pid}/ns/pid`;
}
