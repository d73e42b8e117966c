import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ContainerState } from "@ocid/cri-api";
import { difference, readNodeState } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";

let daemon: DaemonUnderTest;

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

async function runContainer(pod: string, command: string[]) {
  const sandboxConfig = daemon.sandboxConfig(pod);
  const { podSandboxId } = await daemon.runtime.runPodSandbox({ config: sandboxConfig });
  const config = {
    metadata: { name: "c", attempt: 0 },
    image: { image: daemon.image },
    command,
    logPath: "c.log",
    linux: {},
  };
  const { containerId } = await daemon.runtime.createContainer({ podSandboxId, sandboxConfig, config });
  await daemon.runtime.startContainer({ containerId });
  return { podSandboxId, containerId };
}

test("containers outlive the daemon, killed or stopped, with logs, addresses and exit codes", async () => {
  await daemon.images.pullImage({ image: { image: daemon.image } });
  const lasting = await runContainer("lasting", ["sh", "-c", "while :; do echo tick; sleep 0.05; done"]);
  const ending = await runContainer("ending", ["sh", "-c", "sleep 0.5; exit 9"]);
  const before = (await daemon.runtime.podSandboxStatus({ podSandboxId: lasting.podSandboxId })).status
    ?.network?.ip;
  await daemon.kill();
  const log = join(daemon.root, "logs/lasting/c.log");
  const size = readFileSync(log).byteLength;
  await sleep(1_000);
  expect(readFileSync(log).byteLength).toBeGreaterThan(size);
  await daemon.start();
  expect(
    (await daemon.runtime.podSandboxStatus({ podSandboxId: lasting.podSandboxId })).status?.network?.ip,
  ).toBe(before);
  expect((await daemon.runtime.containerStatus({ containerId: lasting.containerId })).status?.state).toBe(
    ContainerState.CONTAINER_RUNNING,
  );
  expect((await daemon.runtime.execSync({ containerId: lasting.containerId, cmd: ["true"] })).exitCode).toBe(
    0,
  );
  const { status } = await daemon.runtime.containerStatus({ containerId: ending.containerId });
  expect(status).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 9 });
  await daemon.stop();
  await daemon.start();
  expect((await daemon.runtime.listContainers({})).containers.map(({ state }) => state).sort()).toEqual([
    ContainerState.CONTAINER_RUNNING,
    ContainerState.CONTAINER_EXITED,
  ]);
  for (const { podSandboxId } of [lasting, ending]) await daemon.runtime.removePodSandbox({ podSandboxId });
});

test("killed in the middle of a pull, it has no half image, and pulls again", async () => {
  await daemon.images.removeImage({ image: { image: daemon.image } });
  for (const afterMs of [1, 10, 25, 45, 70]) {
    const pull = daemon.images.pullImage({ image: { image: daemon.image } }).catch(() => {});
    await sleep(afterMs);
    await daemon.kill();
    await pull;
    await daemon.start();
    const { images } = await daemon.images.listImages({});
    if (images.length > 0) await daemon.images.removeImage({ image: { image: daemon.image } });
    const overlay = join(daemon.root, "r/overlay");
    expect(
      readdirSync(overlay).filter(
        name => name !== "l" && name !== "tempdirs" && name !== ".has-mount-program",
      ),
    ).toEqual([]);
    expect(existsSync(join(overlay, "tempdirs")) ? readdirSync(join(overlay, "tempdirs")) : []).toEqual([]);
  }
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

test("killed in the middle of making pods and containers, it leaves nothing, and makes them again", async () => {
  await eventually("a quiet node", () => readNodeState().processes.length >= 0);
  const before = readNodeState();
  for (const afterMs of [2, 8, 15, 25, 35, 50, 70, 90, 120]) {
    const name = `crash${afterMs}`;
    const attempt = runContainer(name, ["sleep", "1000"]).catch(() => undefined);
    await sleep(afterMs);
    await daemon.kill();
    await attempt;
    await daemon.start();
    for (const { id } of (await daemon.runtime.listContainers({})).containers)
      await daemon.runtime.removeContainer({ containerId: id });
    for (const { id } of (await daemon.runtime.listPodSandbox({})).items)
      await daemon.runtime.removePodSandbox({ podSandboxId: id });
    const again = await runContainer(name, ["sleep", "1000"]);
    await daemon.runtime.removePodSandbox({ podSandboxId: again.podSandboxId });
    await eventually(`nothing left after a kill at ${afterMs} ms`, () => {
      const left = difference(before, readNodeState()).filter(
        line => !line.includes("/r/overlay") || line.includes("merged"),
      );
      return left.filter(line => !line.startsWith("links: ocid-e")).length === 0;
    });
    expect(readdirSync(join(daemon.root, "state/runtime/containers"))).toEqual([]);
    expect(readdirSync(join(daemon.root, "state/cni"))).toEqual([]);
    expect(
      JSON.parse(
        execFileSync("cat", [join(daemon.root, "r/overlay-containers/containers.json")], {
          encoding: "utf8",
        }),
      ),
    ).toEqual([]);
  }
});

test("a removal that was cut short is finished at the next start; until then the pod can be asked about", async () => {
  const { podSandboxId, containerId } = await runContainer("cut", ["sh", "-c", "exit 4"]);
  await eventually("the container has ended", async () => {
    const { status } = await daemon.runtime.containerStatus({ containerId });
    return status?.state === ContainerState.CONTAINER_EXITED;
  });
  // As a removal leaves it that has got as far as the runtime's part.
  writeFileSync(join(daemon.root, "state/records", containerId, "removing"), "");
  rmSync(join(daemon.root, "state/runtime/containers", containerId), { recursive: true });
  rmSync(join(daemon.root, "state/runtime/exits", containerId));
  const { containersStatuses } = await daemon.runtime.podSandboxStatus({ podSandboxId });
  expect(containersStatuses).toMatchObject([{ id: containerId, exitCode: 4 }]);
  await daemon.kill();
  await daemon.start();
  expect((await daemon.runtime.podSandboxStatus({ podSandboxId })).containersStatuses).toEqual([]);
  expect((await daemon.runtime.listContainers({})).containers).toEqual([]);
  expect(readFileSync(join(daemon.root, "r/overlay-containers/containers.json"), "utf8")).not.toContain(
    containerId,
  );
  await daemon.runtime.removePodSandbox({ podSandboxId });
});

test("a container whose files somebody has deleted has ended, and can be stopped and removed", async () => {
  const { podSandboxId, containerId } = await runContainer("lost", ["sleep", "1000"]);
  const directory = join(daemon.root, "state/runtime/containers", containerId);
  process.kill(Number(readFileSync(join(directory, "monitor-pid"), "utf8")), "SIGKILL");
  process.kill(daemon.pidOf(containerId), "SIGKILL");
  rmSync(directory, { recursive: true });
  expect((await daemon.runtime.containerStatus({ containerId })).status).toMatchObject({
    state: ContainerState.CONTAINER_EXITED,
    exitCode: 255,
  });
  await daemon.runtime.stopContainer({ containerId });
  await daemon.runtime.removeContainer({ containerId });
  await daemon.runtime.removePodSandbox({ podSandboxId });
});

test.each([
  ["the runtime's own state, as on a tmpfs after a reboot", "state/runtime/runtimes"],
  ["everything that the runtime's side knows", "state/runtime"],
])(
  "a container has ended when %s is lost; it is listed with its log, and can be removed",
  async (_, lost) => {
    const { podSandboxId, containerId } = await runContainer("wiped", ["sh", "-c", "echo hello; sleep 1000"]);
    const pid = daemon.pidOf(containerId);
    await daemon.kill();
    if (lost === "state/runtime/runtimes") process.kill(pid, "SIGKILL");
    rmSync(join(daemon.root, lost), { recursive: true });
    await daemon.start();
    const seen = async () => (await daemon.runtime.containerStatus({ containerId })).status!;
    expect((await daemon.runtime.listContainers({})).containers).toMatchObject([
      { id: containerId, state: ContainerState.CONTAINER_EXITED },
    ]);
    const first = await seen();
    expect(first).toMatchObject({
      state: ContainerState.CONTAINER_EXITED,
      exitCode: lost === "state/runtime" ? 255 : 137,
    });
    expect(readFileSync(first.logPath, "utf8")).toContain("hello");
    await eventually("its process is gone", () => !existsSync(`/proc/${pid}`));
    await daemon.kill();
    await daemon.start();
    expect((await seen()).finishedAt).toBe(first.finishedAt);
    await daemon.runtime.removeContainer({ containerId });
    await daemon.runtime.removePodSandbox({ podSandboxId });
  },
);
