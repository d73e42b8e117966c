import { chownSync, statSync } from "node:fs";
import type { RuntimeIdMapping, RuntimeSpec } from "@ocid/spec";

/**
 * Gives a waiting process's standard streams to the user that it will run as, so that it can open `/dev/stdout` anew.
 * Runtimes do that themselves but in a user namespace, where they do not own the monitor's pipes.
 */
export function giveStdio(pid: number, { process, linux }: RuntimeSpec): void {
  const { uidMappings = [], gidMappings = [] } = linux;
  const uid = onHost(uidMappings, process.user.uid);
  const gid = onHost(gidMappings, process.user.gid);
  if (uid === undefined || gid === undefined) return;
  for (const fd of [0, 1, 2]) {
    const path = `/proc/${pid}/fd/${fd}`;
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isFIFO() || stat?.isSocket()) chownSync(path, uid, gid);
  }
}

function onHost(mappings: readonly RuntimeIdMapping[], id: number): number | undefined {
  const range = mappings.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  return range && range.hostID + id - range.containerID;
}
