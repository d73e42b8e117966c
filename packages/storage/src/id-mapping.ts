import { OcidError } from "@ocid/base";
import type { RuntimeIdMapping } from "@ocid/spec";
import { numberOf, type Row } from "./go-json.ts";

/** Which ids of the host the ids in a container are. */
export interface IdMappings {
  readonly uids: readonly RuntimeIdMapping[];
  readonly gids: readonly RuntimeIdMapping[];
}

/** The host's id of one in the container; INVALID_ARGUMENT when the mappings leave it out. */
export function toHostId(mappings: readonly RuntimeIdMapping[], id: number): number {
  for (const { containerID, hostID, size } of mappings)
    if (id >= containerID && id < containerID + size) return hostID + id - containerID;
  throw new OcidError("INVALID_ARGUMENT", `the container's id ${id} is mapped to no id of the host`);
}

/** The container's id of one on the host; INVALID_ARGUMENT when the mappings leave it out. */
export function toContainerId(mappings: readonly RuntimeIdMapping[], id: number): number {
  for (const { containerID, hostID, size } of mappings)
    if (id >= hostID && id < hostID + size) return containerID + id - hostID;
  throw new OcidError("INVALID_ARGUMENT", `the host's id ${id} is no id of the container`);
}

/** As the records spell them. */
export function toRecord(mappings: readonly RuntimeIdMapping[] | undefined): readonly object[] | undefined {
  return mappings?.map(({ containerID, hostID, size }) => ({
    container_id: containerID,
    host_id: hostID,
    size,
  }));
}

export function fromRecord(row: Row): IdMappings | undefined {
  const uids = mappings(row["uidmap"]);
  const gids = mappings(row["gidmap"]);
  return uids.length + gids.length > 0 ? { uids, gids } : undefined;
}

function mappings(value: unknown): readonly RuntimeIdMapping[] {
  return (Array.isArray(value) ? (value as Row[]) : []).map(item => ({
    containerID: numberOf(item, "container_id") ?? 0,
    hostID: numberOf(item, "host_id") ?? 0,
    size: numberOf(item, "size") ?? 0,
  }));
}
