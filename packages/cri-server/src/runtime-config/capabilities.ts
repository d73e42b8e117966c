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

const known = /^CAP_[A-Z_]{2,30}$/;

/**
 * A container's capabilities: the defaults, less what is dropped, with what is added; `ALL` is all that this node can
 * give. What the node itself may not pass on is left out. `bounding` is the node's own bounding set.
 */
export function containerCapabilities(
  request: Capability | undefined,
  privileged: boolean,
  bounding: ReadonlySet<string>,
): NonNullable<RuntimeProcess["capabilities"]> {
  const add = normalise(request?.addCapabilities ?? []);
  const drop = normalise(request?.dropCapabilities ?? []);
  const ambient = normalise(request?.addAmbientCapabilities ?? []);
  let set = new Set(privileged ? bounding : defaults);
  if (add.includes("CAP_ALL")) set = new Set(bounding);
  if (drop.includes("CAP_ALL")) set = new Set();
  for (const name of add) if (name !== "CAP_ALL") set.add(name);
  for (const name of drop) set.delete(name);
  for (const name of ambient) set.add(name);
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
    if (!known.test(full))
      throw new OcidError("INVALID_ARGUMENT", `unknown capability ${JSON.stringify(name.slice(0, 60))}`);
    return full;
  });
}
