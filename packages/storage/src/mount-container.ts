import { OcidError } from "@ocid/base";
import { containerLayerMark } from "./create-container.ts";
import { type CallOptions, getContainer, lockContext, type StoreParts } from "./store-parts.ts";

export interface MountContainerOptions extends CallOptions {
  /** Path of the user namespace of a container that was made with `idMappings`. */
  readonly userNamespace?: string | undefined;
}

/** Mounts a container's root file system read-write; a repeat returns the same path. */
export async function mountContainer(
  parts: StoreParts,
  id: string,
  options: MountContainerOptions = {},
): Promise<{ readonly path: string }> {
  const { layerId, idMappings } = getContainer(parts, id);
  const { userNamespace } = options;
  if (idMappings && userNamespace === undefined && parts.mounts.users(layerId) === 0)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `container ${id} has ids of a user namespace; mount it with that namespace`,
    );
  const path = await parts.mounts.mount(lockContext(parts, options), layerId, {
    readOnly: false,
    once: true,
    plainChanges: parts.layers.find(layerId)?.metadata === containerLayerMark,
    userNamespace: idMappings && userNamespace,
  });
  return { path };
}

/** Gives the mount back; what is not mounted is no error. */
export async function unmountContainer(
  parts: StoreParts,
  id: string,
  options: CallOptions = {},
): Promise<void> {
  const container = parts.containers.find(id);
  if (container) await parts.mounts.unmount(lockContext(parts, options), container.layerId);
}
