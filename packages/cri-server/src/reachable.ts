import { statSync } from "node:fs";
import { dirname } from "node:path";
import { OcidError } from "@ocid/base";
import type { PodIdMappings } from "./runtime-config/user-namespace.ts";

/** The root of a pod's user namespace must be able to pass through every directory down to its root file system. */
export function refuseUnreachable(path: string, { uids, gids }: PodIdMappings): void {
  for (let directory = path; ; directory = dirname(directory)) {
    const { mode, uid, gid } = statSync(directory);
    const bit = uid === uids[0]!.hostID ? 0o100 : gid === gids[0]!.hostID ? 0o010 : 0o001;
    if ((mode & bit) === 0)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `the root of the pod's user namespace cannot pass through ${directory} to its root file system; allow it with chmod o+x ${directory}`,
      );
    if (directory === "/") return;
  }
}
