import { OcidError } from "@ocid/base";
import type { RuntimeSpec } from "@ocid/spec";
import { capabilityNames } from "../runtime-config/capabilities.ts";
import { coreMagic, messageIn, numbersIn, readCriuImage, type WireMessage } from "./criu-images.ts";

// Fields of criu's core.proto and creds.proto.
const taskCore = 3;
const taskState = 1;
const threadCore = 5;
const creds = 10;
const seccompMode = 11;
const userIds = [1, 3, 5, 7];
const capabilitySets = { inheritable: 9, permitted: 10, effective: 11, bounding: 12, ambient: 19 };
const noNewPrivileges = 18;
/** SECCOMP_MODE_FILTER (linux/seccomp.h). */
const filtered = 2n;
/** TASK_DEAD and TASK_ZOMBIE: they run nothing any more, and have no thread. */
const ended = [2n, 6n];

/**
 * Refuses a thread that had more, when it was checkpointed, than the container's configuration gives: criu gives threads
 * back what the image says, and asks no configuration. PERMISSION_DENIED names what. `image` is the content of a
 * `core-PID.img`, `name` what to call it.
 */
export function refusePrivileges(image: Uint8Array, name: string, { process, linux }: RuntimeSpec): void {
  const [core, ...more] = readCriuImage(image, coreMagic, name);
  const task = core && messageIn(core, taskCore, name);
  const thread = core && more.length === 0 ? messageIn(core, threadCore, name) : undefined;
  if (task && !thread && more.length === 0 && ended.includes(number(task, taskState, name))) return;
  const given = thread && messageIn(thread, creds, name);
  if (!thread || !given)
    throw new OcidError("INVALID_ARGUMENT", `${name} of the checkpoint does not say what its process may do`);
  const refuse = (what: string) => {
    throw new OcidError("PERMISSION_DENIED", `a process of the checkpoint (${name}) ${what}`, {
      reason: "PrivilegesRefused",
    });
  };
  const allowed = new Set(process.capabilities?.bounding ?? []);
  for (const [set, field] of Object.entries(capabilitySets)) {
    const extra = capabilitiesOf(given, field, name).filter(capability => !allowed.has(capability));
    if (extra.length > 0)
      refuse(
        `has ${extra.join(", ")} (${set}), which the container is not given; add the capability, or leave the checkpoint`,
      );
  }
  if (process.user.uid !== 0 && userIds.some(field => number(given, field, name) === 0n))
    refuse(`runs as root, but the container is to run as user ${process.user.uid}`);
  if (process.noNewPrivileges === true && number(given, noNewPrivileges, name) !== 1n)
    refuse(
      "may gain privileges, which the container is not to (no_new_privs); criu before 4.0 does not keep that, so with it such a container cannot be restored",
    );
  if (linux.seccomp !== undefined && number(thread, seccompMode, name) !== filtered)
    refuse("has no seccomp filter, but the container is to have one");
}

/** The last one counts, as with every reader of the format. */
function number(message: WireMessage, field: number, name: string): bigint {
  return numbersIn(message, field, name).at(-1) ?? 0n;
}

/** Words of 32 bits, the lowest first. */
function capabilitiesOf(message: WireMessage, field: number, name: string): readonly string[] {
  return numbersIn(message, field, name).flatMap((word, at) =>
    Array.from({ length: 32 }, (_, bit) => bit)
      .filter(bit => (word >> BigInt(bit)) & 1n)
      .map(bit => capabilityNames[at * 32 + bit] ?? `capability ${at * 32 + bit}`),
  );
}
