import { OcidError } from "@ocid/base";
import type { IdMapping } from "./namespaces.ts";

const groupRange = "net.ipv4.ping_group_range";

/**
 * Sysctls as they are written from outside of a pod's user namespace: the groups that may ping are the pod's own in the
 * request and the machine's to the kernel, which reads them in the writer's namespace. A range that goes on past the
 * pod's groups ends with them.
 */
export function sysctlsFromOutside(
  sysctls: Readonly<Record<string, string>>,
  gids: readonly IdMapping[],
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(sysctls).map(([key, value]) => [
      key,
      key.replaceAll("/", ".") === groupRange ? mapRange(value, gids) : value,
    ]),
  );
}

function mapRange(value: string, gids: readonly IdMapping[]): string {
  const match = /^\s*(\d+)\s+(\d+)\s*$/.exec(value);
  const [first, last] = [Number(match?.[1]), Number(match?.[2])];
  // A range that ends before it begins means nobody.
  if (match && first > last) return "1 0";
  const mapping = gids.find(
    ({ containerID, size }) => match && first >= containerID && first < containerID + size,
  );
  if (!mapping)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `sysctl ${groupRange}: ${JSON.stringify(value)} is no range of groups of the pod's user namespace`,
    );
  const end = Math.min(last, mapping.containerID + mapping.size - 1);
  const offset = mapping.hostID - mapping.containerID;
  return `${first + offset} ${end + offset}`;
}
