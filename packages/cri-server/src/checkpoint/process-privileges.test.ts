import type { RuntimeSpec } from "@ocid/spec";
import { coreImage, criuImage, type ProcessFacts, wireMessage } from "@ocid/testkit";
import { expect, test } from "vitest";
import { refusePrivileges } from "./process-privileges.ts";

const killBit = 1n << 5n;
const sysAdminBit = 1n << 21n;
const checkpointRestoreBit = 1n << 40n;

function spec(more: object = {}, seccomp?: object): RuntimeSpec {
  const process = { user: { uid: 0, gid: 0 }, capabilities: { bounding: ["CAP_KILL"] }, ...more };
  return { process, linux: seccomp ? { seccomp } : {} } as unknown as RuntimeSpec;
}

const check = (facts: ProcessFacts, given: RuntimeSpec) =>
  refusePrivileges(coreImage(facts), "core-1.img", given);

test("a process that has no more than the container is given is let through", () => {
  expect(() => check({ capabilities: killBit }, spec())).not.toThrow();
  expect(() => check({}, spec({ capabilities: {} }))).not.toThrow();
  const strict = spec({ noNewPrivileges: true, user: { uid: 1000, gid: 1000 } }, {});
  expect(() => check({ uid: 1000, noNewPrivileges: true, seccomp: true }, strict)).not.toThrow();
});

test.each([
  ["a capability", { capabilities: killBit | sysAdminBit }, spec(), "CAP_SYS_ADMIN"],
  ["one of the second word", { capabilities: checkpointRestoreBit }, spec(), "CAP_CHECKPOINT_RESTORE"],
  ["one that has no name yet", { capabilities: 1n << 63n }, spec(), "capability 63"],
  ["root", { uid: 0 }, spec({ user: { uid: 1000, gid: 0 } }), "runs as root"],
  ["new privileges", {}, spec({ noNewPrivileges: true }), "no_new_privs"],
  ["all system calls", {}, spec({}, {}), "no seccomp filter"],
] as const)("one that has %s beyond it is refused", (_, facts, given, said) => {
  expect(() => check(facts, given)).toThrow(
    expect.objectContaining({ code: "PERMISSION_DENIED", message: expect.stringContaining(said) }),
  );
});

test("one that runs nothing any more has nothing to be asked for", () => {
  const zombie = criuImage("core", [
    wireMessage([
      [1, 1],
      [3, wireMessage([[1, 6]])],
    ]),
  ]);
  expect(() => refusePrivileges(zombie, "core-2.img", spec())).not.toThrow();
});

const thread = wireMessage([[10, wireMessage([[1, 0]])]]);
test.each([
  [
    "says nothing of its process",
    criuImage("core", [
      wireMessage([
        [1, 1],
        [3, wireMessage([[1, 1]])],
      ]),
    ]),
  ],
  [
    "says it twice",
    criuImage("core", [
      wireMessage([
        [5, thread],
        [5, thread],
      ]),
    ]),
  ],
  ["has two entries", criuImage("core", [wireMessage([[5, thread]]), wireMessage([[5, thread]])])],
  ["has none", criuImage("core", [])],
  ["is of another kind", criuImage("mountpoints", [])],
  ["is cut off", coreImage().subarray(0, 40)],
  ["is empty", Buffer.alloc(0)],
  ["has a length beyond its end", criuImage("core", [Buffer.from([0x2a, 0xff, 0xff, 0xff, 0xff, 0x7f])])],
  ["has a number without an end", criuImage("core", [Buffer.alloc(20, 0xff)])],
  ["has a group", criuImage("core", [Buffer.from([0x0b, 0x0c])])],
])("an image that %s is refused", (_, image) => {
  expect(() => refusePrivileges(image, "core-1.img", spec())).toThrow(
    expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining("core-1.img") }),
  );
});

test("no damage of an image makes anything but an error that names it", () => {
  const whole = coreImage({ capabilities: killBit, seccomp: true });
  for (let at = 0; at < whole.byteLength; at++) {
    const damaged = Buffer.from(whole);
    damaged[at] = damaged[at]! ^ 0xff;
    try {
      refusePrivileges(damaged, "core-1.img", spec());
    } catch (error) {
      expect(error).toMatchObject({ code: expect.stringMatching(/^(INVALID_ARGUMENT|PERMISSION_DENIED)$/) });
    }
  }
});
