import { OcidError } from "@ocid/base";
import type { Capability } from "@ocid/cri-api";
import type { RuntimeProcess } from "@ocid/spec";

/** What a container has unless it asks for more or less: the set that container engines have agreed on. */
const defaults = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FSETID",
  "FOWNER",
  "MKNOD",
  "NET_RAW",
  "SETGID",
  "SETUID",
  "SETFCAP",
  "SETPCAP",
  "NET_BIND_SERVICE",
  "SYS_CHROOT",
  "KILL",
  "AUDIT_WRITE",
].map(name => `CAP_${name}`);

/** All that Linux has (capabilities(7)), each at the place of its number. */
export const capabilityNames: readonly string[] =
  `CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
  NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
  SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
  MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`
    .split(/\s+/)
    .map(name => `CAP_${name}`);

const known = new Set([...capabilityNames, "CAP_ALL"]);

/**
 * A container's capabilities: the defaults, less what is dropped, with what is added; `ALL` is all that this node can
 * give. What the node itself may not pass on is left out and told to `onDropped`. `bounding` is the node's own bounding set.
 */
export function containerCapabilities(
  request: Capability | undefined,
  privileged: boolean,
  bounding: ReadonlySet<string>,
  onDropped: (what: string) => void = () => {},
): NonNullable<RuntimeProcess["capabilities"]> {
  const add = normalise(request?.addCapabilities ?? []);
  const drop = normalise(request?.dropCapabilities ?? []);
  const ambient = normalise(request?.addAmbientCapabilities ?? []);
  let set = new Set(privileged ? bounding : defaults);
  if (add.includes("CAP_ALL")) set = new Set(bounding);
  if (drop.includes("CAP_ALL")) set = new Set();
  for (const name of add) if (name !== "CAP_ALL") set.add(name);
  for (const name of drop) set.delete(name);
  if (ambient.includes("CAP_ALL"))
    throw new OcidError("INVALID_ARGUMENT", "ambient capabilities are named one by one, not by ALL");
  for (const name of ambient) set.add(name);
  const missing = [...add, ...ambient].filter(
    name => name !== "CAP_ALL" && set.has(name) && !bounding.has(name),
  );
  if (missing.length > 0) onDropped(`capabilities that this node does not have: ${missing.join(", ")}`);
  const given = [...set].filter(name => bounding.has(name)).sort();
  return {
    bounding: given,
    effective: given,
    permitted: given,
    inheritable: ambient.filter(name => bounding.has(name)),
    ambient: ambient.filter(name => bounding.has(name)),
  };
}

function normalise(names: readonly string[]): readonly string[] {
  return names.map(name => {
    const upper = name.toUpperCase();
    const full = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
    if (!known.has(full))
      throw new OcidError("INVALID_ARGUMENT", `unknown capability ${JSON.stringify(name.slice(0, 60))}`);
    return full;
  });
}
