import { describe, expect, test } from "vitest";
import { readLayout } from "./cgroup-layout.ts";
import { planResources } from "./cgroup-resources.ts";

const v2 = readLayout("25 30 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", () => "cpu memory pids");
const v1 = readLayout("31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", () => "");
const without = { read: () => undefined };

describe("version 2", () => {
  test("limits in its own files and units", () => {
    const plan = planResources(
      {
        memory: { limit: 1000, reservation: 500, swap: 1500 },
        cpu: { shares: 1024, quota: 50_000, period: 100_000, cpus: "0-1", mems: "0" },
        pids: { limit: 10 },
        hugepageLimits: [{ pageSize: "2MB", limit: 4096 }],
        unified: { "memory.high": "900" },
      },
      v2,
      without,
    );
    expect(plan).toEqual([
      ["memory", "memory.max", "1000"],
      ["memory", "memory.low", "500"],
      ["memory", "memory.swap.max", "500"],
      ["cpu", "cpu.weight", "39"],
      ["cpu", "cpu.max", "50000 100000"],
      ["cpuset", "cpuset.cpus", "0-1"],
      ["cpuset", "cpuset.mems", "0"],
      ["pids", "pids.max", "10"],
      ["hugetlb", "hugetlb.2MB.max", "4096"],
      ["memory", "memory.high", "900"],
    ]);
  });

  test("no limit is max, and an idle cgroup has no weight", () => {
    const plan = planResources(
      { memory: { limit: -1, swap: -1 }, cpu: { quota: -1, idle: 1, shares: 2 }, pids: { limit: -1 } },
      v2,
      without,
    );
    expect(plan).toEqual([
      ["memory", "memory.max", "max"],
      ["memory", "memory.swap.max", "max"],
      ["cpu", "cpu.idle", "1"],
      ["cpu", "cpu.max", "max"],
      ["pids", "pids.max", "max"],
    ]);
  });

  test.each([
    [2, "1"],
    [1024, "39"],
    [262_144, "10000"],
    [1, "1"],
    [1_000_000, "10000"],
  ])("%d shares are a weight of %s", (shares, weight) => {
    expect(planResources({ cpu: { shares } }, v2, without)).toEqual([["cpu", "cpu.weight", weight]]);
  });

  test("swap without a memory limit, or below it, is refused", () => {
    for (const memory of [{ swap: 10 }, { limit: 20, swap: 10 }])
      expect(() => planResources({ memory }, v2, without)).toThrow(/memory with swap \(10\)/);
  });

  test.each(["../x", "cgroup.procs", "memory/max", ""])("%j is no file of a controller", file => {
    expect(() => planResources({ unified: { [file]: "1" } }, v2, without)).toThrow(/not a file/);
  });
});

describe("version 1", () => {
  const memory = (swap: number, present: string) =>
    planResources({ memory: { limit: 100, swap } }, v1, { read: () => present }).map(([, file]) => file);
  const outer = "memory.memsw.limit_in_bytes";
  const inner = "memory.limit_in_bytes";

  test("the outer limit moves first outwards and last inwards", () => {
    expect(memory(200, "150\n")).toEqual([outer, inner]);
    expect(memory(200, "9223372036854771712\n")).toEqual([inner, outer]);
    expect(memory(-1, "150\n")).toEqual([outer, inner]);
  });

  test("nothing unified can be set", () => {
    expect(() => planResources({ unified: { "memory.high": "1" } }, v1, without)).toThrow(/version 1/);
  });

  test("no quota is -1, whichever way it is said", () => {
    for (const quota of [0, -1])
      expect(planResources({ cpu: { quota } }, v1, without)).toEqual([["cpu", "cpu.cfs_quota_us", "-1"]]);
  });
});
