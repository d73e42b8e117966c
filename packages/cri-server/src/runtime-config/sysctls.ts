import { OcidError } from "@ocid/base";

const ipc = new Set([
  "kernel.msgmax",
  "kernel.msgmnb",
  "kernel.msgmni",
  "kernel.sem",
  "kernel.shmall",
  "kernel.shmmax",
  "kernel.shmmni",
  "kernel.shm_rmid_forced",
]);

/** Checks a pod's sysctls: only ones that belong to a namespace of the pod's own, and values on one line. INVALID_ARGUMENT names the rest. */
export function podSysctls(
  sysctls: Readonly<Record<string, string>>,
  own: { readonly net: boolean; readonly ipc: boolean },
): Readonly<Record<string, string>> {
  for (const [name, value] of Object.entries(sysctls)) {
    const key = name.replaceAll("/", ".");
    if (!/^[a-z0-9_.-]+$/i.test(key) || key.includes(".."))
      throw new OcidError("INVALID_ARGUMENT", `not a sysctl: ${JSON.stringify(name.slice(0, 100))}`);
    if (/[\n\0]/.test(value) || value.length > 1024)
      throw new OcidError("INVALID_ARGUMENT", `sysctl ${name} has a value that is not one line`);
    if (ipc.has(key) || key.startsWith("fs.mqueue.")) {
      if (!own.ipc)
        throw new OcidError(
          "INVALID_ARGUMENT",
          `sysctl ${name} cannot be set in a pod that uses the node's ipc namespace`,
        );
    } else if (key.startsWith("net.")) {
      if (!own.net)
        throw new OcidError(
          "INVALID_ARGUMENT",
          `sysctl ${name} cannot be set in a pod that uses the node's network`,
        );
    } else
      throw new OcidError(
        "INVALID_ARGUMENT",
        `sysctl ${name} is the node's, not a namespace's; it cannot be set for a pod`,
      );
  }
  return sysctls;
}
