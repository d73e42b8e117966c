import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ContainerState, PodSandboxState } from "@ocid/cri-api";
import { difference, type NodeState, randomFrom, readNodeState } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";

/** OCID_EXHAUSTIVE=1 for a hundred pods and ten kills; OCID_SEED chooses the moments. */
const [pods, kills] = process.env["OCID_EXHAUSTIVE"] ? [100, 10] : [20, 3];
const atOnce = 10;
const seed = Number(process.env["OCID_SEED"] ?? 1);

let daemon: DaemonUnderTest;
let before: NodeState;

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
  mkdirSync(join(daemon.root, "ran"));
  // The bridge and the store's own mount come with the first pod and stay.
  await bringUp("first");
  for (const { id } of (await daemon.runtime.listPodSandbox({})).items)
    await daemon.runtime.removePodSandbox({ podSandboxId: id });
  before = readNodeState();
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

test(`${pods} pods, ${atOnce} at a time, with ${kills} kills: all run, none twice, nothing is left`, {
  timeout: 1_800_000,
}, async () => {
  const random = randomFrom(seed);
  const names = Array.from({ length: pods }, (_, at) => `many-${at}`);
  const waiting = [...names];
  let done = 0;
  const worker = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      await bringUp(name);
      done++;
    }
  };
  const killer = async () => {
    for (let kill = 1; kill <= kills; kill++) {
      // Spread over the whole work, each at a moment that chance chooses.
      await eventually(`pod ${kill}`, () => done >= ((kill - 1) * pods) / (kills + 1), 600_000);
      await sleep(random() * 600);
      await daemon.kill();
      await daemon.start();
    }
  };
  await Promise.all([killer(), ...Array.from({ length: atOnce }, worker)]);
  await expectAllOnce(names);
  await daemon.kill();
  await daemon.start();
  await expectAllOnce(names);

  for (const { id } of (await daemon.runtime.listPodSandbox({})).items)
    await daemon.runtime.removePodSandbox({ podSandboxId: id });
  await eventually("nothing is left", () => difference(before, readNodeState()).length === 0).catch(() => {
    throw new Error(`left on the node (seed ${seed}):\n${difference(before, readNodeState()).join("\n")}`);
  });
  for (const directory of ["runtime/containers", "runtime/exits", "cni", "sandboxes", "records"])
    expect(readdirSync(join(daemon.root, "state", directory)), directory).toEqual([]);
  expect(JSON.parse(readFileSync(join(daemon.root, "r/overlay-containers/containers.json"), "utf8"))).toEqual(
    [],
  );
  expect(readdirSync(join(daemon.root, "ipam/e2e")).filter(name => /^\d/.test(name))).toEqual([]);
});

/** As a kubelet would: looks at what there is, does what is missing, and tries again when an answer is lost. */
async function bringUp(name: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      const config = daemon.sandboxConfig(name);
      const { items } = await daemon.runtime.listPodSandbox({ filter: { labelSelector: { pod: name } } });
      const sandboxConfig = { ...config, labels: { pod: name } };
      const podSandboxId =
        items[0]?.id ?? (await daemon.runtime.runPodSandbox({ config: sandboxConfig })).podSandboxId;
      const { containers } = await daemon.runtime.listContainers({ filter: { podSandboxId } });
      const containerId = containers[0]?.id ?? (await create(podSandboxId, sandboxConfig, name));
      if (containers[0]?.state !== ContainerState.CONTAINER_RUNNING)
        await daemon.runtime.startContainer({ containerId });
      return;
    } catch (error) {
      // Only a daemon that has gone is a reason to ask again.
      const { code } = error as { code?: string };
      if (!["UNAVAILABLE", "CANCELLED"].includes(code ?? "") || attempt > 200) throw error;
      await sleep(100);
    }
  }
}

async function create(podSandboxId: string, sandboxConfig: object, name: string): Promise<string> {
  const { containerId } = await daemon.runtime.createContainer({
    podSandboxId,
    sandboxConfig,
    config: {
      metadata: { name: "c", attempt: 0 },
      image: { image: daemon.image },
      command: ["sh", "-c", `echo started >> /ran/${name}; exec sleep 100000`],
      mounts: [{ hostPath: join(daemon.root, "ran"), containerPath: "/ran" }],
      logPath: "c.log",
      linux: {},
    },
  });
  return containerId;
}

async function expectAllOnce(names: readonly string[]): Promise<void> {
  const { items } = await daemon.runtime.listPodSandbox({});
  expect(items.map(({ metadata }) => metadata?.name).sort()).toEqual([...names].sort());
  expect(items.every(({ state }) => state === PodSandboxState.SANDBOX_READY)).toBe(true);
  const { containers } = await daemon.runtime.listContainers({});
  expect(containers.length).toBe(names.length);
  for (const { id } of containers)
    expect((await daemon.runtime.containerStatus({ containerId: id })).status?.state).toBe(
      ContainerState.CONTAINER_RUNNING,
    );
  const lines = () => names.map(name => readFileSync(join(daemon.root, "ran", name), "utf8"));
  await eventually("each has said that it started", () => {
    try {
      return lines().every(text => text !== "");
    } catch {
      return false;
    }
  });
  expect(lines().filter(text => text !== "started\n")).toEqual([]);
}
