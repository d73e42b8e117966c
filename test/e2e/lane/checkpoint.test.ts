import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ContainerState } from "@ocid/cri-api";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pushCheckpointImage } from "../src/checkpoint-image.ts";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "../src/daemon-under-test.ts";
import { podActions, type TestPod } from "../src/pod-actions.ts";

let daemon: DaemonUnderTest;
const { pod, container, started, exec, remove, status } = podActions(() => daemon);

// What it counts is in its memory alone.
const counter = "trap 'exit 7' TERM; i=100; while :; do i=$((i+1)); echo $i; sleep 1; done";

beforeAll(async () => {
  // What comes to life at the first call is not left behind by the tests.
  execFileSync("busctl", ["list", "--acquired"], { stdio: "ignore" });
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

const logOf = (in_: string, name: string) => join(daemon.root, "logs", in_, `${name}.log`);
const said = (path: string) =>
  !existsSync(path)
    ? []
    : readFileSync(path, "utf8")
        .trim()
        .split("\n")
        .map(line => line.split(" ").slice(3).join(" "));
const counted = (path: string) =>
  said(path)
    .map(Number)
    .filter(number => !Number.isNaN(number));

/** A checkpoint of a container that has counted and changed files, as an archive; the container is gone. */
async function checkpointed(name: string, more: object = {}): Promise<string> {
  const p = await pod(name);
  const c = await started(p, "c", more, ["sh", "-c", counter]);
  await exec(c, "sh", "-c", "echo kept > /new; mkdir /full; echo more > /full/file; rm /bin/seq");
  await eventually("some counting", () => counted(logOf(name, "c")).length >= 3);
  const location = join(daemon.root, `${name}.tar`);
  await daemon.runtime.checkpointContainer({ containerId: c, location });
  await remove(p);
  return location;
}

const made = (in_: TestPod, image: string, more: object = {}) =>
  container(in_, "c", [], { image: { image }, ...more });

describe("a container restored from an image that is a checkpoint", () => {
  let frozen: string;
  let before: readonly number[];

  beforeAll(async () => {
    const archive = await checkpointed("counting");
    before = counted(logOf("counting", "c"));
    frozen = await pushCheckpointImage(daemon.registry, "test/frozen", archive);
    await daemon.images.pullImage({ image: { image: frozen } });
  });

  test("goes on with its memory and its files, writes its log, and is the new pod's", async () => {
    const p = await pod("thawed");
    const c = await made(p, frozen);
    expect(await status(c)).toMatchObject({
      state: ContainerState.CONTAINER_CREATED,
      image: { image: frozen },
    });
    await daemon.runtime.startContainer({ containerId: c });
    const path = logOf("thawed", "c");
    await eventually("it counts on", () => counted(path).length >= 3);
    const [first, second] = counted(path);
    expect(first).toBeGreaterThan(before[0]!);
    expect(second).toBe(first! + 1);
    expect(await exec(c, "cat", "/new", "/full/file")).toBe("kept\nmore");
    expect(await exec(c, "sh", "-c", "ls /bin/seq || true")).toBe("");
    expect(await exec(c, "cat", "/etc/hostname")).toBe("thawed");
    // criu gives processes the UTS namespace that they had.
    expect(await exec(c, "hostname")).toBe("counting");
    const now = await status(c);
    expect(now.state).toBe(ContainerState.CONTAINER_RUNNING);
    expect(now.imageRef).toMatch(/test\/box@sha256:/);
    const record = JSON.parse(
      readFileSync(join(daemon.root, "state/runtime/containers", c, "record.json"), "utf8"),
    );
    expect(record.cgroupPath).toContain(c);
    expect(readFileSync(`/proc/${record.init.pid}/cgroup`, "utf8")).toContain(c);
    // The image is free again once its memory is the container's.
    await daemon.images.removeImage({ image: { image: frozen } });
    await daemon.images.pullImage({ image: { image: frozen } });
    await daemon.runtime.stopContainer({ containerId: c, timeout: 60n });
    expect(await status(c)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 7 });
    await remove(p);
  });

  test("outlives the daemon, and its exit code is not lost", async () => {
    const p = await pod("survivor");
    const c = await made(p, frozen);
    await daemon.kill();
    await daemon.start();
    await daemon.runtime.startContainer({ containerId: c });
    await eventually("it counts on", () => counted(logOf("survivor", "c")).length >= 2);
    const { init } = JSON.parse(
      readFileSync(join(daemon.root, "state/runtime/containers", c, "record.json"), "utf8"),
    );
    await daemon.kill();
    process.kill(init.pid, "SIGTERM");
    await sleep(3_000);
    await daemon.start();
    await eventually("its end", async () => (await status(c)).state === ContainerState.CONTAINER_EXITED);
    expect((await status(c)).exitCode).toBe(7);
    await remove(p);
  });

  test("is checkpointed once more, and restored from the archive itself", async () => {
    const p = await pod("again");
    const c = await made(p, frozen);
    await daemon.runtime.startContainer({ containerId: c });
    await eventually("it counts on", () => counted(logOf("again", "c")).length >= 2);
    const location = join(daemon.root, "again.tar");
    const before = counted(logOf("again", "c")).at(-1)!;
    await daemon.runtime.checkpointContainer({ containerId: c, location });
    await remove(p);
    const q = await pod("thrice");
    const d = await made(q, location);
    await daemon.runtime.startContainer({ containerId: d });
    await eventually("it counts on", () => counted(logOf("thrice", "c")).length >= 2);
    expect(counted(logOf("thrice", "c"))[0]).toBeGreaterThanOrEqual(before);
    expect(await exec(d, "cat", "/new")).toBe("kept");
    await remove(q);
  });

  test("whose daemon dies in the middle of the restore is running or waits, never both or neither", async () => {
    for (const delay of [2_500]) {
      const name = `cut-${delay}`;
      const p = await pod(name);
      const c = await made(p, frozen);
      const start = daemon.runtime.startContainer({ containerId: c }).catch(() => {});
      await sleep(delay);
      await daemon.kill();
      await start;
      await daemon.start();
      const { state } = await status(c);
      console.log(`killed after ${delay} ms: ${ContainerState[state]}`);
      if (state === ContainerState.CONTAINER_CREATED) await daemon.runtime.startContainer({ containerId: c });
      await eventually("it counts", () => counted(logOf(name, "c")).length >= 2);
      const numbers = counted(logOf(name, "c"));
      expect(new Set(numbers).size, numbers.join()).toBe(numbers.length);
      expect((await status(c)).state).toBe(ContainerState.CONTAINER_RUNNING);
      await remove(p);
    }
  });
});

test("a container with limits, a read-only mount, masked paths and a terminal is restored as such", async () => {
  const hostPath = join(daemon.root, "given");
  execFileSync("mkdir", ["-p", hostPath]);
  const mounts = [{ hostPath, containerPath: "/given", readonly: true }];
  const linux = {
    resources: { memoryLimitInBytes: 64n << 20n },
    securityContext: {
      maskedPaths: ["/proc/kcore", "/proc/keys", "/sys/firmware"],
      readonlyPaths: ["/proc/sys", "/proc/irq"],
      seccomp: { profileType: 0 },
      capabilities: { dropCapabilities: ["ALL"], addCapabilities: ["KILL"] },
    },
  };
  const archive = await checkpointed("limits", { mounts, linux, tty: true });
  const p = await pod("limited");
  await expect(made(p, archive, { tty: true, linux })).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringContaining("/given"),
  });
  await expect(
    made(p, archive, {
      ...{ tty: true, mounts },
      linux: {
        ...linux,
        securityContext: { ...linux.securityContext, capabilities: { dropCapabilities: ["ALL"] } },
      },
    }),
  ).rejects.toMatchObject({ code: "PERMISSION_DENIED", message: expect.stringContaining("CAP_KILL") });
  const tighter = { ...linux, resources: { memoryLimitInBytes: 48n << 20n } };
  const c = await made(p, archive, { mounts, linux: tighter, tty: true });
  await daemon.runtime.startContainer({ containerId: c });
  await eventually("it counts on", () => counted(logOf("limited", "c")).length >= 2);
  const { cgroupPath } = JSON.parse(
    readFileSync(join(daemon.root, "state/runtime/containers", c, "record.json"), "utf8"),
  );
  expect(readFileSync(join("/sys/fs/cgroup", cgroupPath, "memory.max"), "utf8").trim()).toBe(
    String(48 << 20),
  );
  const { init } = JSON.parse(
    readFileSync(join(daemon.root, "state/runtime/containers", c, "record.json"), "utf8"),
  );
  const facts = readFileSync(`/proc/${init.pid}/status`, "utf8");
  expect(facts).toMatch(/^CapBnd:\s+0000000000000020$/m);
  expect(facts).toMatch(/^Seccomp:\s+2$/m);
  const mountinfo = readFileSync(`/proc/${init.pid}/mountinfo`, "utf8");
  expect(mountinfo).toMatch(/ \/given ro/);
  expect(mountinfo).toMatch(/ \/proc\/sys ro/);
  await remove(p);
});

test("what criu cannot restore is told with criu's reason, and leaves nothing but the created container", async () => {
  const archive = await checkpointed("broken");
  const p = await pod("mended");
  const directory = join(daemon.root, "broken");
  execFileSync("sh", ["-c", `mkdir ${directory} && tar -xf ${archive} -C ${directory}`]);
  execFileSync("sh", [
    "-c",
    `rm ${directory}/checkpoint/pages-1.img && tar -cf ${archive} -C ${directory} .`,
  ]);
  const c = await made(p, archive);
  const refusal = await daemon.runtime.startContainer({ containerId: c }).catch((error: Error) => error);
  expect(refusal).toMatchObject({ code: "FAILED_PRECONDITION" });
  expect((refusal as Error).message).toMatch(/could not be restored: .*; criu: \S.*/);
  expect((await status(c)).state).toBe(ContainerState.CONTAINER_CREATED);
  expect(readdirSync(join(daemon.root, "state/runtime/runtimes/runc"))).toEqual([]);
  await daemon.runtime.removeContainer({ containerId: c });
  await remove(p);
});
