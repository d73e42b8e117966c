import { expect, test } from "vitest";
import { judgeAccess } from "./access.ts";
import { daemonFindings } from "./daemon.ts";
import { judgeSpace, type KernelState, kernelFindings } from "./node.ts";

const kernel: KernelState = {
  filesystems: "nodev\ttmpfs\nnodev\toverlay\n",
  maxUserNamespaces: 1000,
  seccomp: true,
  controllers: new Set(["cpu", "memory", "pids", "cpuset"]),
  ipForward: "1",
  bridgeCallsIptables: "1",
};

test("a kernel that has everything", () => {
  expect(kernelFindings(kernel)).toEqual([]);
});

test.each<[string, Partial<KernelState>, string, string]>([
  ["overlay", { filesystems: "nodev\ttmpfs\n" }, "problem", "overlay file system"],
  ["user namespaces", { maxUserNamespaces: 0 }, "advice", "user namespaces"],
  ["seccomp", { seccomp: false }, "problem", "seccomp"],
  ["a controller", { controllers: new Set(["cpu", "memory", "cpuset"]) }, "problem", "controller pids"],
  ["forwarding", { ipForward: "0" }, "advice", "net.ipv4.ip_forward is 0"],
  ["bridges", { bridgeCallsIptables: undefined }, "advice", "br_netfilter is not loaded"],
])("a kernel without %s", (_, missing, severity, what) => {
  const found = kernelFindings({ ...kernel, ...missing });
  expect(found).toHaveLength(1);
  expect(found[0]).toMatchObject({ severity, what: expect.stringContaining(what) });
  expect(found[0]).not.toHaveProperty("fix");
});

test("a file system is full by its space or by its inodes", () => {
  const space = { blocks: 1000n, blocksFree: 500n, inodes: 1000n, inodesFree: 500n };
  const what = (more: object) => judgeSpace("/store", { ...space, ...more }).map(found => found.what);
  expect(what({})).toEqual([]);
  expect(what({ blocksFree: 49n })).toEqual(["the file system of /store has 4.9% of its space left"]);
  expect(what({ inodesFree: 0n })).toEqual(["the file system of /store has 0.0% of its inodes left"]);
  expect(what({ inodes: 0n, inodesFree: 0n })).toEqual([]);
});

test("modes that are wider than they may be are narrowed; other owners and links are only told", () => {
  const judge = (mode: number, uid = 0) =>
    judgeAccess("/s", 0o711, { mode, uid }).map(({ what, fix }) => [what, fix !== undefined]);
  expect(judge(0o40711)).toEqual([]);
  expect(judge(0o40700)).toEqual([]);
  expect(judge(0o40777)).toEqual([["/s has mode 0777, more than 0711", true]]);
  expect(judge(0o40711, 1000)).toEqual([["/s belongs to user 1000", false]]);
  expect(judge(0o120777)).toEqual([["/s is a symbolic link", false]]);
});

test("two daemons on one state directory are named", () => {
  const daemon = (pid: number) => ({ pid, startTime: 1n, parentPid: 1, argv: ["ocid"] });
  expect(daemonFindings("/s", [daemon(3)])).toEqual([]);
  expect(daemonFindings("/s", [daemon(3), daemon(4)])[0]?.what).toBe("2 daemons use /s: pids 3, 4");
});
