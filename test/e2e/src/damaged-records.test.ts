import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ContainerState } from "@ocid/cri-api";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions, type TestPod } from "./pod-actions.ts";

let daemon: DaemonUnderTest;
let healthy: TestPod;
let healthyContainer: string;
const { pod, started, exec, remove, status } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
  healthy = await pod("healthy");
  healthyContainer = await started(healthy, "c");
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

const state = (...parts: string[]) => join(daemon.root, "state", ...parts);
const initOf = (id: string) => daemon.pidOf(id);
const runs = (pid: number) => existsSync(`/proc/${pid}`);
const podIds = async () => (await daemon.runtime.listPodSandbox({})).items.map(({ id }) => id);
const containerIds = async () => (await daemon.runtime.listContainers({})).containers.map(({ id }) => id);
const ofStore = () => readFileSync(join(daemon.root, "r/overlay-containers/containers.json"), "utf8");

/** What `ocic doctor` says of the daemon's state, by the kinds of its problems. */
function doctor(): readonly { readonly kind: string; readonly what: string }[] {
  const ocic = join(import.meta.dirname, "../../../apps/ocic/dist/ocic");
  const endpoint = ["--runtime-endpoint", join(daemon.root, "ocid.sock")];
  const { stdout, stderr } = spawnSync(ocic, [...endpoint, "doctor", "--json"], { encoding: "utf8" });
  if (stdout === "") throw new Error(`ocic doctor: ${stderr}`);
  const { findings } = JSON.parse(stdout);
  return findings.filter(({ severity }: { severity: string }) => severity === "problem");
}

/** As an operator does who needs nothing of it. */
async function emptyQuarantine(): Promise<void> {
  await daemon.stop();
  rmSync(state("quarantine"), { recursive: true });
  await daemon.start();
}

const byJson = (change: (record: Record<string, unknown>) => object) => (file: string) =>
  writeFileSync(file, JSON.stringify(change(JSON.parse(readFileSync(file, "utf8")))));
const damages: readonly [string, (file: string) => void][] = [
  ["truncated", file => truncateSync(file, 77)],
  ["empty", file => truncateSync(file, 0)],
  ["garbage", file => writeFileSync(file, Buffer.alloc(512, 0xa5))],
  [
    "a directory in its place",
    file => {
      rmSync(file);
      mkdirSync(file);
    },
  ],
  ["of a newer version", byJson(record => ({ ...record, version: 9 }))],
  ["with an id that is a path", byJson(record => ({ ...record, id: "../../../etc" }))],
];

/** All of them by `OCID_EXHAUSTIVE=1`; how each is told from a good record, the unit tests show. */
const some = (...at: readonly number[]) =>
  process.env["OCID_EXHAUSTIVE"] === "1" ? damages : at.map(index => damages[index]!);

test.each(some(0, 4))(
  "a pod's record that is %s: the pod is stopped, kept, and made anew",
  async (how, damage) => {
    const ports = { portMappings: [{ containerPort: 80, hostPort: 18123 }] };
    const lost = await pod("lost", ports);
    const container = await started(lost, "c", {}, ["sh", "-c", "echo treasure > /data; exec sleep 1000"]);
    await eventually("the data is there", async () => (await exec(container, "cat", "/data")) === "treasure");
    const init = initOf(container);
    await daemon.kill();
    damage(state("sandboxes", lost.id, "sandbox.json"));
    await daemon.start();

    expect(daemon.log()).toContain(state("sandboxes", lost.id, "sandbox.json"));
    expect(await podIds()).toEqual([healthy.id]);
    expect(await containerIds()).toEqual([healthyContainer]);
    expect(runs(init)).toBe(false);
    expect(readFileSync("/proc/mounts", "utf8")).not.toContain(lost.id);
    expect(readdirSync(state("cni"))).toEqual([`${healthy.id}.json`]);
    expect(doctor().map(({ kind }) => kind)).toEqual(["quarantine", "quarantine"]);
    expect(readdirSync(state("quarantine/sandboxes"))).toEqual([lost.id]);
    expect(readFileSync(state("quarantine/sandboxes", lost.id, "reason.txt"), "utf8")).toContain(
      "sandbox.json",
    );
    // Nothing is lost: the writable layer is there, with what was written.
    expect(readdirSync(state("quarantine/records"))).toEqual([container]);
    expect(ofStore()).toContain(container);
    if (how === "truncated") {
      const layer = JSON.parse(ofStore()).find(({ id }: { id: string }) => id === container).layer;
      expect(readFileSync(join(daemon.root, "r/overlay", layer, "diff/data"), "utf8")).toBe("treasure\n");
    }

    // As the kubelet does: the same pod once more, with the same host port.
    const again = await pod("lost", ports);
    const anew = await started(again, "c");
    expect(await exec(anew, "echo", "alive")).toBe("alive");
    expect(await exec(healthyContainer, "echo", "alive")).toBe("alive");
    await remove(again);
    await emptyQuarantine();
    expect(ofStore()).not.toContain(container);
    expect(existsSync(state("runtime/containers", container))).toBe(false);
    expect(doctor()).toEqual([]);
  },
);

test.each(some(2, 3))(
  "a container's record that is %s: it is stopped and kept, its pod goes on",
  async (_, damage) => {
    const owner = await pod("owner");
    const [lost, other] = [await started(owner, "lost"), await started(owner, "other")];
    const init = initOf(lost);
    await daemon.kill();
    damage(state("records", lost, "container.json"));
    await daemon.start();
    expect(daemon.log()).toContain(state("records", lost, "container.json"));
    expect((await containerIds()).sort()).toEqual([healthyContainer, other].sort());
    expect(runs(init)).toBe(false);
    expect(await exec(other, "echo", "alive")).toBe("alive");
    expect(doctor().map(({ kind }) => kind)).toEqual(["quarantine"]);
    const anew = await started(owner, "lost");
    expect(await exec(anew, "echo", "alive")).toBe("alive");
    await remove(owner);
    expect(ofStore()).toContain(lost);
    await emptyQuarantine();
    expect(ofStore()).not.toContain(lost);
    expect(doctor()).toEqual([]);
  },
);

test("what is mended and put back is there again, as ended; what is kept survives restarts", async () => {
  const mended = await pod("mended");
  const container = await started(mended, "c");
  const file = state("sandboxes", mended.id, "sandbox.json");
  const good = readFileSync(file);
  await daemon.kill();
  truncateSync(file, 10);
  await daemon.start();
  await daemon.stop();
  await daemon.start();
  expect(await podIds()).toEqual([healthy.id]);
  expect(ofStore()).toContain(container);
  await daemon.stop();
  for (const kept of [`sandboxes/${mended.id}`, `records/${container}`])
    execFileSync("mv", [state("quarantine", kept), state(kept)]);
  writeFileSync(file, good);
  await daemon.start();
  expect((await podIds()).sort()).toEqual([healthy.id, mended.id].sort());
  expect((await status(container)).state).toBe(ContainerState.CONTAINER_EXITED);
  await remove(mended);
  expect(doctor()).toEqual([]);
});

test.each(some(1, 3))(
  "the monitor's record of a container that is %s is made anew, and the container goes on",
  async (_, damage) => {
    const id = await started(healthy, "rebuilt");
    const init = initOf(id);
    await daemon.kill();
    damage(state("runtime/containers", id, "record.json"));
    await daemon.start();
    expect((await status(id)).state).toBe(ContainerState.CONTAINER_RUNNING);
    expect(await exec(id, "echo", "alive")).toBe("alive");
    await daemon.runtime.reopenContainerLog({ containerId: id });
    await daemon.runtime.stopContainer({ containerId: id });
    expect(runs(init)).toBe(false);
    await daemon.runtime.removeContainer({ containerId: id });
    expect(existsSync(state("runtime/containers", id))).toBe(false);
  },
);

test.each(damages.slice(1, 4))(
  "an exit file that is %s is an end with an unknown code",
  async (_, damage) => {
    const id = await started(healthy, "ended", {}, ["true"]);
    await eventually(
      "it has ended",
      async () => (await status(id)).state === ContainerState.CONTAINER_EXITED,
    );
    await daemon.kill();
    damage(state("runtime/exits", id));
    await daemon.start();
    expect(await status(id)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 255 });
    await daemon.runtime.removeContainer({ containerId: id });
    expect(existsSync(state("runtime/exits", id))).toBe(false);
  },
);
