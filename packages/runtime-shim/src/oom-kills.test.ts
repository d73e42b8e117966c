import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CgroupLayout } from "@ocid/host";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ContainerRecord, ShimFiles } from "./container-files.ts";
import { OomKills } from "./oom-kills.ts";

// Directories stand for the unified hierarchy; the test counts as the kernel does.
let root: string;
let files: ShimFiles;
let layout: CgroupLayout;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "oom-kills-"));
  files = new ShimFiles(join(root, "shim"));
  const unified = join(root, "cgroup");
  layout = {
    version: 2,
    unified,
    controllers: new Map([["memory", unified]]),
    hierarchies: [unified],
    driverDefault: "systemd",
    hugetlb: false,
    swap: false,
  };
  count("/pod.slice", 0);
});
afterEach(() => rmSync(root, { recursive: true }));

const pod = "/pod.slice";
const scopeOf = (id: string) => `${pod}/ocid-${id}.scope`;
/** As another program would find it: nothing is known only in memory. */
const oomKills = () => new OomKills(files, layout);
const recordOf = (id: string, cgroupPath = scopeOf(id)): ContainerRecord => ({
  id,
  handler: "runc",
  phase: "created",
  logPath: undefined,
  init: undefined,
  cgroupPath,
  monitorCgroupPath: undefined,
});

function count(cgroup: string, kills: number): void {
  mkdirSync(join(layout.unified!, cgroup), { recursive: true });
  for (const [file, text] of Object.entries({
    "cgroup.procs": "",
    "memory.events": `max 8\noom_kill ${kills}\n`,
    "memory.oom_control": `oom_kill ${kills}\n`,
  }))
    writeFileSync(join(layout.unified!, cgroup, file), text);
}

async function begun(id: string, cgroupPath = scopeOf(id)): Promise<void> {
  mkdirSync(files.of(id).directory, { recursive: true });
  await files.writeRecord(recordOf(id, cgroupPath));
  oomKills().begin(recordOf(id, cgroupPath));
  count(cgroupPath, 0);
}

const goes = (id: string) => rmSync(join(layout.unified!, scopeOf(id)), { recursive: true });
const ended = (id: string, exitCode = 137) => {
  files.noteExit(id, exitCode);
  return oomKills().exitOf(id)!.oomKilled;
};

describe("a container whose cgroup has gone", () => {
  test("was killed for want of memory when the pod's has counted it", async () => {
    count(pod, 3);
    await begun("a");
    count(pod, 4);
    goes("a");
    expect(ended("a")).toBe(true);
  });

  test("was not when the pod's has counted nothing", async () => {
    count(pod, 3);
    await begun("a");
    goes("a");
    expect(ended("a")).toBe(false);
  });

  test("was killed too when it was the first, for which systemd has made the pod's", async () => {
    rmSync(join(layout.unified!, pod), { recursive: true });
    await begun("a");
    count(pod, 1);
    goes("a");
    expect(ended("a")).toBe(true);
  });

  test("stays what it was, whatever comes later, and when the pod's has gone too", async () => {
    await begun("a");
    await begun("b");
    goes("a");
    expect(ended("a")).toBe(false);
    count(pod, 1);
    goes("b");
    expect([ended("a"), ended("b")]).toEqual([false, true]);
    rmSync(join(layout.unified!, pod), { recursive: true });
    expect([ended("a"), ended("b")]).toEqual([false, true]);
  });

  test.each([
    ["has ended by itself", () => {}, 1],
    ["was killed by us", () => files.noteKilled("a"), 137],
  ])("that %s was not killed for want of memory, but one of its processes", async (_, before, exitCode) => {
    await begun("a");
    await begun("b");
    before();
    count(pod, 1);
    goes("a");
    expect(ended("a", exitCode)).toBe(false);
    goes("b");
    expect(ended("b")).toBe(false);
  });
});

describe("another container of the pod", () => {
  test("that was killed before, and is there or not, is not this one", async () => {
    await begun("earlier");
    await begun("there");
    count(pod, 3);
    count(scopeOf("there"), 2);
    goes("earlier");
    await begun("a");
    goes("a");
    expect(ended("a")).toBe(false);
  });

  test("that has lost a process and goes on is not this one", async () => {
    await begun("a");
    await begun("other");
    count(scopeOf("other"), 2);
    count(pod, 2);
    goes("a");
    expect(ended("a")).toBe(false);
  });

  test("that was killed while this one ran, and was removed, is not this one", async () => {
    await begun("a");
    for (const id of ["first", "second"]) {
      await begun(id);
      count(pod, id === "first" ? 1 : 4);
      goes(id);
      expect(ended(id)).toBe(true);
      rmSync(files.of(id).directory, { recursive: true });
      rmSync(files.of(id).exit);
    }
    goes("a");
    expect(ended("a")).toBe(false);
  });

  test("that was killed does not hide that this one is too", async () => {
    await begun("a");
    await begun("other");
    count(pod, 1);
    goes("other");
    expect(ended("other")).toBe(true);
    count(pod, 2);
    goes("a");
    expect(ended("a")).toBe(true);
  });

  test("that ended too before anybody looked was killed as this one", async () => {
    await begun("a");
    await begun("other");
    count(pod, 2);
    goes("a");
    goes("other");
    files.noteExit("other", 137);
    expect([ended("a"), ended("other")]).toEqual([true, true]);
  });

  test("of another pod is not concerned", async () => {
    count("/pod2.slice", 0);
    await begun("a", "/pod2.slice/ocid-a.scope");
    await begun("other");
    count(pod, 5);
    goes("other");
    expect(ended("other")).toBe(true);
    count("/pod2.slice", 1);
    rmSync(join(layout.unified!, "/pod2.slice/ocid-a.scope"), { recursive: true });
    expect(ended("a")).toBe(true);
  });
});

describe("a container whose cgroup is still there", () => {
  test("is told by it, and does not count for others when it goes", async () => {
    await begun("a");
    await begun("other");
    count(pod, 1);
    count(scopeOf("a"), 1);
    expect(ended("a")).toBe(true);
    goes("a");
    goes("other");
    expect([ended("a"), ended("other")]).toEqual([true, false]);
  });

  test("is told by it alone where the kernel adds nothing up", async () => {
    layout = { ...layout, version: 1 };
    count(pod, 3);
    await begun("a");
    await begun("other");
    count(scopeOf("a"), 1);
    expect([ended("a"), ended("other")]).toEqual([true, false]);
  });
});
