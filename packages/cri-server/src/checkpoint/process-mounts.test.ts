import type { RuntimeSpec } from "@ocid/spec";
import { type MountFacts, mountpointsImage } from "@ocid/testkit";
import { expect, test } from "vitest";
import { refuseMounts } from "./process-mounts.ts";

const spec = {
  process: { capabilities: { bounding: ["CAP_KILL"] } },
  mounts: [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid"] },
    { destination: "/dev", type: "tmpfs", source: "tmpfs", options: [] },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: ["ro"] },
    { destination: "/data", type: "bind", source: "/srv/data", options: ["rbind", "ro"] },
  ],
  linux: { maskedPaths: ["/proc/keys", "/proc/no-such-file-here"], readonlyPaths: ["/proc/sys"] },
} as unknown as RuntimeSpec;

const honest: readonly MountFacts[] = [
  { path: "/proc", fstype: 1 },
  { path: "/proc/keys", externalKey: "/dev/null" },
  { path: "/proc/sys", fstype: 1, readonly: true },
  { path: "/dev", fstype: 5 },
  { path: "/sys", fstype: 2, readonly: true },
  { path: "/data", externalKey: "/data", readonly: true },
];
const but = (path: string, change: Partial<MountFacts>) =>
  honest.map(mount => (mount.path === path ? { ...mount, ...change } : mount));
const without = (path: string) => honest.filter(mount => mount.path !== path);
const check = (mounts: readonly MountFacts[], given = spec) =>
  refuseMounts(mountpointsImage(mounts), "mountpoints-1.img", given);

test("the mounts that the container is given are let through, masked by a file or by an empty directory", () => {
  expect(() => check(honest)).not.toThrow();
  expect(() => check(but("/proc/keys", { externalKey: undefined, fstype: 5, readonly: true }))).not.toThrow();
  expect(() => check([...honest, { path: "/dev/console", fstype: 6 }])).not.toThrow();
});

test.each<readonly [string, readonly MountFacts[], string]>([
  ["one more", [...honest, { path: "/mnt", fstype: 3 }], "not given"],
  ["one of the node's", [...honest, { path: "/host", externalKey: "/data" }], "not given"],
  ["another directory of the node", but("/data", { externalKey: "/etc" }), "file or directory"],
  [
    "a file system for one of the node's",
    but("/data", { externalKey: undefined, fstype: 5 }),
    "file or directory",
  ],
  ["a writable one that is to be read-only", but("/data", { readonly: false }), "read-only"],
  ["a writable /sys", but("/sys", { readonly: false }), "read-only"],
  ["another file system", but("/dev", { fstype: 3 }), "no tmpfs"],
  ["one of the node's for a file system", but("/dev", { externalKey: "/dev" }), "of the node"],
  ["nothing over a masked path", without("/proc/keys"), "masked"],
  ["no mask over it", but("/proc/keys", { externalKey: undefined, fstype: 1 }), "mask"],
  ["nothing over a read-only path", without("/proc/sys"), "read-only"],
  ["a writable read-only path", but("/proc/sys", { readonly: false }), "read-only"],
  ["one twice", [...honest, { path: "/proc", fstype: 1 }], "twice"],
  ["a cover that lies below what it should cover", but("/proc/sys", { on: "/" }), "another one"],
  ["a path that is written otherwise", [...honest, { path: "/proc/./", fstype: 1 }], "twice"],
  ["another root", [{ path: "/x/..", externalKey: "/data" }, ...honest], "/"],
])("%s is refused", (_, mounts, said) => {
  expect(() => check(mounts)).toThrow(
    expect.objectContaining({ code: "PERMISSION_DENIED", message: expect.stringContaining(said) }),
  );
});

test("who may mount has whichever mounts there are", () => {
  const may = {
    ...spec,
    process: { capabilities: { bounding: ["CAP_SYS_ADMIN"] } },
  } as unknown as RuntimeSpec;
  expect(() => check([...honest, { path: "/mnt", fstype: 3 }], may)).not.toThrow();
});
