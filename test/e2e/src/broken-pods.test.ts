import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ContainerState, NamespaceMode, PodSandboxState } from "@ocid/cri-api";
import { difference, readNodeState } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

let daemon: DaemonUnderTest;
const { pod, started, remove } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
  // The bridge and the store's own mount come with the first pod and stay.
  const first = await pod("first");
  await started(first, "c");
  await remove(first);
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

interface Victim {
  readonly pod: string;
  readonly container: string;
  /** The sandbox's directory. */
  readonly directory: string;
}

const run = (program: string, ...args: string[]) => execFileSync(program, args, { encoding: "utf8" });
const runtimeState = (id: string) => join(daemon.root, "state/runtime/containers", id);
const monitorOf = (id: string) => Number(readFileSync(join(runtimeState(id), "monitor-pid"), "utf8"));
const cgroupsOf = (name: string) =>
  run("find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path", `*${name}*`).split("\n").filter(Boolean);
const pauseOf = ({ directory }: Victim): string =>
  JSON.parse(readFileSync(join(directory, "sandbox.json"), "utf8")).pauseId;

const breaks: Record<string, (victim: Victim) => void | Promise<void>> = {
  "the network namespace is unpinned": ({ directory }) => {
    run("umount", "-l", join(directory, "ns/net"));
    rmSync(join(directory, "ns/net"));
  },
  "the interface in the network namespace is deleted": ({ directory }) => {
    run("nsenter", `--net=${join(directory, "ns/net")}`, "ip", "link", "del", "eth0");
  },
  "all namespaces are unpinned": ({ directory }) => {
    for (const name of readdirSync(join(directory, "ns"))) run("umount", "-l", join(directory, "ns", name));
    rmSync(join(directory, "ns"), { recursive: true });
  },
  "the shared memory is unmounted and its directory removed": ({ directory }) => {
    run("umount", "-l", join(directory, "shm"));
    rmSync(join(directory, "shm"), { recursive: true });
  },
  "the root file system is unmounted": () => {
    const merged = run("findmnt", "-rno", "TARGET", "-t", "overlay").split("\n");
    for (const path of merged.filter(path => path.startsWith(daemon.root))) run("umount", "-l", path);
  },
  "the cgroups are emptied and removed": async ({ pod }) => {
    for (const cgroup of cgroupsOf(pod))
      for (const pid of readFileSync(join(cgroup, "cgroup.procs"), "utf8").split("\n").filter(Boolean))
        run("sh", "-c", `kill -9 ${pid} 2>/dev/null || true`);
    await eventually("the cgroups are gone", () => {
      for (const cgroup of cgroupsOf(pod)) run("sh", "-c", `rmdir ${cgroup} 2>/dev/null || true`);
      return cgroupsOf(pod).length === 0;
    });
  },
  "the processes are frozen, their monitors too": ({ pod }) => {
    const [file, frozen] = existsSync("/sys/fs/cgroup/freezer")
      ? (["freezer.state", "FROZEN"] as const)
      : (["cgroup.freeze", "1"] as const);
    const files = cgroupsOf(pod)
      .map(cgroup => join(cgroup, file))
      .filter(existsSync);
    // The pod's, the container's and the pause process's, and their monitors'.
    expect(files.length).toBeGreaterThanOrEqual(5);
    for (const path of files) writeFileSync(path, frozen);
  },
  "the monitor is killed": ({ container }) => {
    process.kill(monitorOf(container), "SIGKILL");
  },
  "the monitor is killed while it writes the end down": ({ container }) => {
    process.kill(monitorOf(container), "SIGKILL");
    writeFileSync(join(daemon.root, "state/runtime/exits", `${container}.Q3RGZ3`), "0");
  },
  "the monitor and the container are killed": ({ container }) => {
    process.kill(monitorOf(container), "SIGKILL");
    process.kill(daemon.pidOf(container), "SIGKILL");
  },
  "the pause process is killed": victim => {
    process.kill(daemon.pidOf(pauseOf(victim)), "SIGKILL");
  },
  "the pause container's files are removed": victim => {
    process.kill(daemon.pidOf(pauseOf(victim)), "SIGKILL");
    // The monitor may be writing there.
    rmSync(runtimeState(pauseOf(victim)), { recursive: true, maxRetries: 20 });
  },
  "the runtime has forgotten the container": ({ container }) => {
    const states = run("find", join(daemon.root, "state/runtime/runtimes"), "-type", "d", "-name", container);
    for (const path of states.split("\n").filter(Boolean)) rmSync(path, { recursive: true });
  },
  "the network's state is damaged": ({ pod }) =>
    writeFileSync(join(daemon.root, "state/cni", `${pod}.json`), "{"),
  "the addresses that were given are forgotten": () => rmSync(join(daemon.root, "ipam"), { recursive: true }),
};

test.each(Object.keys(breaks))("%s: the pod is stopped and removed, and nothing is left", async name => {
  const before = readNodeState();
  const p = await pod(`broken-${Object.keys(breaks).indexOf(name)}`, {
    linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } },
  });
  const container = await started(p, "c");
  await breaks[name]!({ pod: p.id, container, directory: join(daemon.root, "state/sandboxes", p.id) });
  await daemon.runtime.stopPodSandbox({ podSandboxId: p.id });
  expect((await daemon.runtime.podSandboxStatus({ podSandboxId: p.id })).status?.state).toBe(
    PodSandboxState.SANDBOX_NOTREADY,
  );
  expect((await daemon.runtime.containerStatus({ containerId: container })).status?.state).toBe(
    ContainerState.CONTAINER_EXITED,
  );
  await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
  await eventually("nothing is left", () => difference(before, readNodeState()).length === 0).catch(() => {
    throw new Error(difference(before, readNodeState()).join("\n"));
  });
  for (const directory of ["runtime/containers", "runtime/exits", "cni", "sandboxes", "records"])
    expect(readdirSync(join(daemon.root, "state", directory)), directory).toEqual([]);
});

test("the network's configuration is removed: pods are stopped and removed all the same", async () => {
  const before = readNodeState();
  const p = await pod("no-config");
  await started(p, "c");
  const path = join(daemon.root, "net.d/10-test.conflist");
  renameSync(path, `${path}.away`);
  try {
    await daemon.kill();
    await daemon.start();
    await daemon.runtime.stopPodSandbox({ podSandboxId: p.id });
    await remove(p);
  } finally {
    renameSync(`${path}.away`, path);
  }
  await eventually("nothing is left", () => difference(before, readNodeState()).length === 0);
});
