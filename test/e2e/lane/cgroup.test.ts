import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { CgroupDriver, ContainerState, NamespaceMode } from "@ocid/cri-api";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "../src/daemon-under-test.ts";
import { podActions } from "../src/pod-actions.ts";

const systemd = (process.env["OCID_LANE"] ?? "").startsWith("systemd");
const hierarchy = "/sys/fs/cgroup";
let daemon: DaemonUnderTest;
const { pod, started, exec, remove, status } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

afterAll(async () => {
  // What the kubelet does with cgroups of pods that it made.
  if (systemd) execFileSync("systemctl", ["stop", "lane.slice"]);
  else execFileSync("sh", ["-c", `find ${hierarchy}/lane -depth -type d -exec rmdir {} + || true`]);
  await daemon[Symbol.asyncDispose]();
});

const inParent = (parent: string) => ({
  linux: {
    cgroupParent: parent,
    securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } },
  },
});
const parentOf = (name: string) => (systemd ? `/lane.slice/lane-${name}.slice` : `/lane/${name}`);
const cgroupOf = (pid: number) => /^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, "utf8"))![1]!;
const record = (id: string) =>
  JSON.parse(readFileSync(join(daemon.root, "state/runtime/containers", id, "record.json"), "utf8"));
const monitorPid = (id: string) =>
  Number(readFileSync(join(daemon.root, "state/runtime/containers", id, "monitor-pid"), "utf8"));
/** Where the kernel holds the container to it: crun has a cgroup of its own below the scope that systemd makes. */
const limitOf = (file: string, id: string) =>
  readFileSync(join(hierarchy, cgroupOf(record(id).init.pid), file), "utf8").trim();
const activeUnits = () =>
  execFileSync("systemctl", ["list-units", "--plain", "--no-legend", "--all", "ocid-*"], {
    encoding: "utf8",
  });

test("this is a node with cgroup v2 and systemd", () => {
  expect(existsSync(join(hierarchy, "cgroup.controllers"))).toBe(true);
  expect(existsSync("/run/systemd/system")).toBe(true);
});

test("the kubelet is told who makes cgroups", async () => {
  expect((await daemon.runtime.runtimeConfig({})).linux?.cgroupDriver).toBe(
    systemd ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS,
  );
});

test("a container and its monitor lie in the pod's cgroup, each in one of its own, and leave none", async () => {
  const p = await pod("place", inParent(parentOf("place")));
  const c = await started(p, "c");
  const { init } = record(c);
  const directory = systemd ? "/lane.slice/lane-place.slice" : "/lane/place";
  const [own, monitor] = systemd ? [`ocid-${c}.scope`, `ocid-conmon-${c}.scope`] : [c, `conmon-${c}`];
  expect(record(c)).toMatchObject({
    cgroupPath: `${directory}/${own}`,
    monitorCgroupPath: `${directory}/${monitor}`,
  });
  // crun puts the processes one level deeper.
  expect(cgroupOf(init.pid)).toMatch(new RegExp(`^${directory}/${own.replaceAll(".", "\\.")}(/container)?$`));
  expect(cgroupOf(monitorPid(c))).toBe(`${directory}/${monitor}`);
  if (systemd) expect(activeUnits()).toContain(monitor);
  await remove(p);
  expect(existsSync(join(hierarchy, directory, own))).toBe(false);
  expect(existsSync(join(hierarchy, directory, monitor))).toBe(false);
  await eventually("no unit left", () => !activeUnits().includes(c));
});

test("a pod's own limit holds for all its containers", async () => {
  const p = await pod("limit", inParent(parentOf("limit")));
  const c = await started(p, "c", {}, ["sh", "-c", "sleep 2; exec tail -c 200m /dev/zero"]);
  const directory = systemd ? "/lane.slice/lane-limit.slice" : "/lane/limit";
  if (systemd)
    execFileSync("systemctl", [
      "set-property",
      "--runtime",
      "lane-limit.slice",
      "MemoryMax=64M",
      "MemorySwapMax=0",
    ]);
  else execFileSync("sh", ["-c", `echo 64M >${hierarchy}${directory}/memory.max`]);
  await eventually("its end", async () => (await status(c)).state === ContainerState.CONTAINER_EXITED);
  expect(await status(c)).toMatchObject({ reason: "OOMKilled", exitCode: 137 });
  await remove(p);
});

describe("a container that takes more memory than it may", () => {
  const few = { linux: { resources: { memoryLimitInBytes: 16n << 20n } } };
  const hungry = ["sh", "-c", "sleep 2; exec tail -c 200m /dev/zero"];
  const ended = async (id: string) => {
    await eventually("its end", async () => (await status(id)).state === ContainerState.CONTAINER_EXITED);
    const { reason, exitCode } = await status(id);
    return { reason, exitCode };
  };

  test("is OOMKilled, and no other one of its pod that somebody else kills", async () => {
    const p = await pod("hungry", inParent(parentOf("hungry")));
    const others = [await started(p, "before"), await started(p, "removed", few, hungry)];
    const c = await started(p, "c", few, hungry);
    expect(await ended(c)).toEqual({ reason: "OOMKilled", exitCode: 137 });
    expect(await ended(others[1]!)).toEqual({ reason: "OOMKilled", exitCode: 137 });
    await daemon.runtime.removeContainer({ containerId: others[1]! });
    others[1] = await started(p, "after");
    for (const other of others) {
      process.kill(record(other).init.pid, "SIGKILL");
      expect(await ended(other)).toEqual({ reason: "Error", exitCode: 137 });
    }
    expect(await ended(c)).toEqual({ reason: "OOMKilled", exitCode: 137 });
    await remove(p);
  });

  test("while no daemon runs is found so by the next one", async () => {
    const p = await pod("alone", inParent(parentOf("alone")));
    const c = await started(p, "c", few, hungry);
    const { init } = record(c);
    await daemon.kill();
    await eventually("its end", () => !existsSync(`/proc/${init.pid}`));
    await daemon.start();
    expect(await ended(c)).toEqual({ reason: "OOMKilled", exitCode: 137 });
    await remove(p);
  });
});

test("limits are in the files of version 2, changed ones and those by name too", async () => {
  const p = await pod("files");
  const c = await started(p, "c", {
    linux: {
      resources: {
        memoryLimitInBytes: 64n << 20n,
        cpuQuota: 50_000n,
        cpuPeriod: 100_000n,
        cpuShares: 1024n,
        unified: { "memory.high": String(48 << 20), "pids.max": "77" },
      },
    },
  });
  expect(limitOf("memory.max", c)).toBe(String(64 << 20));
  expect(limitOf("memory.high", c)).toBe(String(48 << 20));
  expect(limitOf("cpu.max", c)).toBe("50000 100000");
  expect(limitOf("pids.max", c)).toBe("77");
  await daemon.runtime.updateContainerResources({
    containerId: c,
    linux: { memoryLimitInBytes: 128n << 20n, cpuQuota: 20_000n, cpuPeriod: 100_000n },
  });
  expect(limitOf("memory.max", c)).toBe(String(128 << 20));
  expect(limitOf("cpu.max", c)).toBe("20000 100000");
  await remove(p);
});

test("a container sees its own cgroup as the root, a privileged one the node's", async () => {
  const p = await pod("seen", { linux: { securityContext: { privileged: true } } });
  const own = await started(p, "own");
  const all = await started(p, "all", { linux: { securityContext: { privileged: true } } });
  const seen = (c: string) => exec(c, "sh", "-c", "cat /proc/self/cgroup; ls /sys/fs/cgroup");
  // Of all cgroups only the node's root has no use of memory to tell.
  expect(await seen(own)).toMatch(/^0::\/\n[\s\S]*memory\.current/);
  expect(await seen(all)).toMatch(new RegExp(`^0::/.*${all}`));
  expect(await seen(all)).not.toContain("memory.current");
  await remove(p);
});

test("use is measured: processor, memory, processes", async () => {
  const p = await pod("stats");
  const c = await started(p, "c", {}, ["sh", "-c", "while :; do :; done"]);
  const use = async () => (await daemon.runtime.containerStats({ containerId: c })).stats!;
  await eventually("some use", async () => {
    const { cpu, memory } = await use();
    return (cpu?.usageCoreNanoSeconds?.value ?? 0n) > 1_000_000n && (memory?.usageBytes?.value ?? 0n) > 0n;
  });
  await eventually("a rate", async () => ((await use()).cpu?.usageNanoCores?.value ?? 0n) > 0n);
  const { stats } = await daemon.runtime.podSandboxStats({ podSandboxId: p.id });
  expect(stats?.linux?.process?.processCount?.value).toBeGreaterThanOrEqual(1n);
  await remove(p);
});

describe("stopping", () => {
  test("ends everything at once, whatever it does with signals", async () => {
    const p = await pod("stubborn");
    const c = await started(p, "c", {}, [
      "sh",
      "-c",
      "trap '' TERM; for i in 1 2 3 4 5 6 7 8; do (trap '' TERM; while :; do sleep 1; done) & done; wait",
    ]);
    await eventually("its processes", async () => Number(await exec(c, "sh", "-c", "ps | wc -l")) > 8);
    const directory = join(hierarchy, record(c).cgroupPath);
    await daemon.runtime.stopContainer({ containerId: c, timeout: 1n });
    expect(await status(c)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 137 });
    const left = existsSync(directory)
      ? readdirSync(directory).includes("cgroup.events") &&
        /populated 1/.test(readFileSync(join(directory, "cgroup.events"), "utf8"))
      : false;
    expect(left).toBe(false);
    await remove(p);
  });
});
