import { OcidError } from "@ocid/base";
import { type IDMapping, NamespaceMode, type NamespaceOption, type UserNamespace } from "@ocid/cri-api";
import type { RuntimeIdMapping } from "@ocid/spec";

/** Which ids of the machine the ids of a pod with a user namespace are. */
export interface PodIdMappings {
  readonly uids: readonly RuntimeIdMapping[];
  readonly gids: readonly RuntimeIdMapping[];
}

const idCount = 2 ** 32;

/**
 * The mappings of a pod that asks for a user namespace of its own; undefined where it uses the node's. One range of
 * each kind, from the pod's id 0 on, as the kubelet gives them. INVALID_ARGUMENT says what cannot be.
 */
export function podIdMappings(options: NamespaceOption | undefined): PodIdMappings | undefined {
  const asked = options?.usernsOptions;
  if (!asked) return undefined;
  if (asked.mode === NamespaceMode.NODE) {
    if (asked.uids.length + asked.gids.length > 0)
      throw invalid("a pod with the node's user namespace cannot have id mappings");
    return undefined;
  }
  if (asked.mode !== NamespaceMode.POD)
    throw invalid(`a user namespace is the pod's or the node's, not of mode ${NamespaceMode[asked.mode]}`);
  if (options.pid === NamespaceMode.NODE || options.ipc === NamespaceMode.NODE)
    throw invalid(
      "a pod with a user namespace of its own cannot use the node's pid or ipc namespace, whose owner it is not",
    );
  return { uids: [onlyRange(asked.uids, "uid")], gids: [onlyRange(asked.gids, "gid")] };
}

/** A container is in its pod's user namespace: what it says of one must be the same. */
export function checkContainerMappings(
  pod: PodIdMappings | undefined,
  asked: UserNamespace | undefined,
): void {
  if (!asked) return;
  const own = asked.mode === NamespaceMode.NODE ? undefined : asked;
  const same =
    own === undefined
      ? pod === undefined
      : pod !== undefined && sameRanges(own.uids, pod.uids) && sameRanges(own.gids, pod.gids);
  if (!same) throw invalid("the container's user namespace is not that of its pod");
}

export function sameRanges(asked: readonly IDMapping[], ours: readonly RuntimeIdMapping[]): boolean {
  return (
    asked.length === ours.length &&
    asked.every(
      ({ hostId, containerId, length }, at) =>
        hostId === ours[at]!.hostID && containerId === ours[at]!.containerID && length === ours[at]!.size,
    )
  );
}

/** The machine's id of one of the pod's; INVALID_ARGUMENT when the pod has no such id. */
export function hostIdOf(mappings: readonly RuntimeIdMapping[], id: number, what: string): number {
  const range = mappings.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  if (!range) {
    const last = mappings.map(({ containerID, size }) => containerID + size - 1).at(-1);
    throw invalid(`${what} ${id} is not in the pod's user namespace (0 to ${last})`);
  }
  return range.hostID + id - range.containerID;
}

function onlyRange(mappings: readonly IDMapping[], kind: "uid" | "gid"): RuntimeIdMapping {
  const [first, ...more] = mappings;
  if (!first || more.length > 0)
    throw invalid(`a user namespace needs one ${kind} mapping, found ${mappings.length}`);
  const { hostId: hostID, containerId: containerID, length: size } = first;
  if (containerID !== 0)
    throw invalid(`the ${kind} mapping of a user namespace begins with 0, found ${containerID}`);
  if (hostID === 0) throw invalid(`the pod's ${kind} 0 cannot be the node's ${kind} 0`);
  if (size === 0 || hostID + size > idCount)
    throw invalid(`${kind} mapping 0:${hostID}:${size} is empty or goes beyond the last id`);
  return { containerID, hostID, size };
}

function invalid(what: string): OcidError {
  return new OcidError("INVALID_ARGUMENT", what);
}
