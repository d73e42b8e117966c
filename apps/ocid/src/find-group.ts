import { readFileSync } from "node:fs";
import { OcidError } from "@ocid/base";

/** The number of a group that is given by name or by number (group(5)); NOT_FOUND for a name that is none. */
export function findGroup(group: string, file = "/etc/group"): number {
  if (/^\d+$/.test(group)) return Number(group);
  for (const line of readFileSync(file, "utf8").split("\n")) {
    const [name, , gid = ""] = line.split(":");
    if (name === group && /^\d+$/.test(gid)) return Number(gid);
  }
  throw new OcidError(
    "NOT_FOUND",
    `server.socket_group: there is no group ${JSON.stringify(group)} in ${file}`,
  );
}
