import { mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { detectCgroups, openCgroup, readProcess, type SpawnedProcess, spawnProcess } from "@ocid/host";
import { leakCheck } from "@ocid/testkit";
import { afterAll, afterEach, describe, expect, test } from "vitest";

const leaks = leakCheck();
const layout = detectCgroups();
const parent = `/ocid-host-test-${process.pid}`;
const children: SpawnedProcess[] = [];
let count = 0;
const fresh = () => openCgroup(`${parent}/c${count++}`);

/** A shell that waits for a line before it runs the script, so that it can be moved first. */
function shell(script: string): SpawnedProcess {
  const child = spawnProcess({
    path: "/bin/sh",
    argv: ["sh", "-c", `read start; ${script}`],
    env: { PATH: "/usr/bin:/bin" },
    stdio: ["pipe", "ignore", "ignore"],
  });
  children.push(child);
  return child;
}

afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
});
afterAll(async () => {
  const all = openCgroup(parent);
  await all.kill();
  await all.remove();
  await all.remove();
  expect(all.exists()).toBe(false);
  await leaks.expectClean();
});

test.each(["", "/", "..", "/../x", "/a/../../b", "/a\0b"])("%j is no cgroup of ours", path => {
  expect(() => openCgroup(path)).toThrow(/not a cgroup of a pod or container/);
});

describe("processes", () => {
  test("are moved, listed, killed with all they started, and the cgroup removed", async () => {
    const cgroup = fresh();
    expect(cgroup.exists()).toBe(false);
    expect(cgroup.processes(true)).toEqual([]);
    await cgroup.kill();
    cgroup.create();
    cgroup.create();
    const below = openCgroup(`${cgroup.path}/below`);
    below.create();
    // It starts processes as fast as they can be killed, and ignores every signal that can be.
    const child = shell("trap '' TERM INT HUP; while :; do sleep 60 & sleep 0.01; done");
    const other = shell("sleep 60; true");
    cgroup.addProcess(child.pid);
    below.addProcess(other.pid);
    child.stdio[0]!.write("go\n");
    await expect.poll(() => cgroup.processes().length).toBeGreaterThan(5);
    expect(cgroup.processes()).toContain(child.pid);
    expect(cgroup.processes()).not.toContain(other.pid);
    expect(cgroup.processes(true)).toEqual(expect.arrayContaining([child.pid, other.pid]));
    await cgroup.kill();
    expect(await child.exited).toEqual({ code: null, signal: "SIGKILL" });
    expect(await other.exited).toEqual({ code: null, signal: "SIGKILL" });
    expect(cgroup.processes(true)).toEqual([]);
    await cgroup.remove();
    expect(below.exists()).toBe(false);
    await cgroup.remove();
    expect(cgroup.usage()).toMatchObject({ memoryUsageBytes: 0n, pids: 0n });
  });

  test("one that has gone cannot be moved, and one that is not ours is not killed", async () => {
    const cgroup = fresh();
    cgroup.create();
    const child = shell("true");
    child.stdio[0]!.end("go\n");
    await child.exited;
    expect(() => cgroup.addProcess(child.pid)).toThrow(
      expect.objectContaining({ code: "NOT_FOUND", reason: "ESRCH" }),
    );
    await cgroup.kill();
    expect(readProcess(process.pid)).toBeDefined();
  });

  test("that somebody has frozen, or the cgroup above, go on when thawed, and are killed", async () => {
    const above = fresh();
    const cgroup = openCgroup(`${above.path}/below`);
    cgroup.thaw();
    cgroup.create();
    const [controller, file, frozen] =
      layout.version === 2 ? ["", "cgroup.freeze", "1"] : ["freezer", "freezer.state", "FROZEN"];
    const freeze = (one: typeof cgroup) => one.write(controller!, file!, frozen!);
    const child = shell("true");
    cgroup.addProcess(child.pid);
    freeze(cgroup);
    // Thawing what lies below does not thaw a cgroup above on version 2, where a kill needs none.
    if (layout.version === 1) freeze(above);
    child.stdio[0]!.end("go\n");
    await sleep(50);
    expect(cgroup.processes()).toEqual([child.pid]);
    cgroup.thaw();
    expect(await child.exited).toEqual({ code: 0, signal: null });
    const other = shell("true");
    cgroup.addProcess(other.pid);
    freeze(cgroup);
    freeze(above);
    await cgroup.kill();
    expect(await other.exited).toEqual({ code: null, signal: "SIGKILL" });
  });

  test("a cgroup that is not empty is not removed", async () => {
    const cgroup = fresh();
    cgroup.create();
    const child = shell("true");
    cgroup.addProcess(child.pid);
    const removing = cgroup.remove();
    await sleep(50);
    expect(cgroup.processes()).toEqual([child.pid]);
    child.stdio[0]!.end("go\n");
    await removing;
    expect(cgroup.exists()).toBe(false);
  });

  test("what a runtime made in a hierarchy without controllers goes too", async () => {
    const cgroup = fresh();
    const everywhere = layout.hierarchies.map(mountpoint => join(mountpoint, cgroup.path));
    for (const directory of everywhere) mkdirSync(join(directory, "inner"), { recursive: true });
    await cgroup.remove();
    for (const directory of everywhere) expect(() => rmdirSync(directory)).toThrow(/ENOENT/);
  });
});

describe("limits and usage", () => {
  const mebibyte = 1024 * 1024;

  test("are set, raised and lowered, and read back", () => {
    const cgroup = fresh();
    cgroup.create();
    for (const limit of [64, 256, 32]) {
      cgroup.setResources({
        memory: { limit: limit * mebibyte, ...(layout.swap ? { swap: 2 * limit * mebibyte } : {}) },
        cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: "0" },
        pids: { limit },
      });
      const usage = cgroup.usage();
      expect(usage.pidsLimit).toBe(BigInt(limit));
      expect(usage.memoryAvailableBytes! + usage.memoryWorkingSetBytes).toBe(BigInt(limit * mebibyte));
      if (layout.swap) expect(usage.swapAvailableBytes).toBe(BigInt(limit * mebibyte));
    }
    cgroup.setResources({ memory: { swap: -1, limit: -1 }, pids: { limit: -1 }, cpu: { quota: -1 } });
    expect(cgroup.usage().pidsLimit).toBeUndefined();
    expect(cgroup.usage().memoryAvailableBytes).toBeUndefined();
    expect(() => cgroup.setResources({ cpu: { cpus: "9999" } })).toThrow(/write "9999" to .*cpuset\.cpus: E/);
    expect(() => cgroup.setResources({ hugepageLimits: [{ pageSize: "../x", limit: 1 }] })).toThrow(
      /not a file of a cgroup controller/,
    );
  });

  test("CPU time, memory and processes are counted", async () => {
    const cgroup = fresh();
    cgroup.create();
    const child = shell(
      "x=$(seq 1 3000000); i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 60; true",
    );
    cgroup.addProcess(child.pid);
    const start = cgroup.usage();
    child.stdio[0]!.write("go\n");
    await expect.poll(() => cgroup.usage().memoryRssBytes, { timeout: 20_000 }).toBeGreaterThan(15_000_000n);
    await expect
      .poll(() => cgroup.usage().cpuUsageNs, { timeout: 20_000 })
      .toBeGreaterThan(start.cpuUsageNs + 10_000_000n);
    const usage = cgroup.usage();
    expect(usage.memoryUsageBytes).toBeGreaterThanOrEqual(usage.memoryWorkingSetBytes);
    expect(usage.pids).toBeGreaterThan(0n);
    expect(usage.memoryPageFaults).toBeGreaterThan(1000n);
    expect(usage.io).toBeDefined();
    await cgroup.kill();
  });

  test("a process that the kernel kills for want of memory is counted and told of", async () => {
    const cgroup = fresh();
    cgroup.create();
    cgroup.setResources({
      memory: { limit: 16 * mebibyte, ...(layout.swap ? { swap: 16 * mebibyte } : {}) },
    });
    const told: bigint[] = [];
    using _watch = cgroup.watchOom(kills => told.push(kills));
    const child = shell("x=$(seq 1 30000000); true");
    cgroup.addProcess(child.pid);
    expect(cgroup.oomKills()).toBe(0n);
    child.stdio[0]!.write("go\n");
    await expect.poll(() => told.at(-1), { timeout: 20_000 }).toBeGreaterThan(0n);
    expect(cgroup.oomKills()).toBeGreaterThanOrEqual(told.at(-1)!);
    await cgroup.kill();
  });

  test("a watch does not outlive its cgroup, and none starts without", async () => {
    const cgroup = fresh();
    cgroup.create();
    const told: bigint[] = [];
    const watch = cgroup.watchOom(kills => told.push(kills));
    await cgroup.remove();
    watch[Symbol.dispose]();
    watch[Symbol.dispose]();
    expect(told).toEqual([]);
    expect(() => cgroup.watchOom(() => {})).toThrow(/no memory controller to watch/);
  });
});
