import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ContainerState } from "@ocid/cri-api";
import { tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

let daemon: DaemonUnderTest;
const { pod, container, started, exec, remove, status } = podActions(() => daemon);
const directory = tempRoot("e2e-handlers-");

/** crun refuses hybrid cgroups as long as it sees the unified hierarchy among them. */
function crunPath(): string {
  if (!existsSync("/sys/fs/cgroup/unified/cgroup.controllers")) return "crun";
  const path = join(directory.path, "crun");
  writeFileSync(
    path,
    `#!/bin/sh\nexec unshare --mount --propagation slave sh -c 'umount /sys/fs/cgroup/unified && exec crun "$@"' crun "$@"\n`,
  );
  chmodSync(path, 0o755);
  return path;
}

beforeAll(async () => {
  daemon = await startDaemonUnderTest({
    config: `
[runtimes.crun]
path = ${JSON.stringify(crunPath())}
[runtimes.runsc]
path = "runsc"
args = ["--platform=ptrace", "--network=host", "--ignore-cgroups"]
[runtimes.absent]
path = "/no/such/runtime"
`,
  });
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  directory.remove();
});

test("the status names every handler, with nothing promised of one that does not say", async () => {
  const { runtimeHandlers } = await daemon.runtime.status({});
  const features = Object.fromEntries(runtimeHandlers.map(handler => [handler.name, handler.features]));
  expect(Object.keys(features).sort()).toEqual(["", "absent", "crun", "runc", "runsc"]);
  expect(features[""]).toEqual(features["runc"]);
  expect(features["runc"]).toMatchObject({ recursiveReadOnlyMounts: true });
  for (const name of ["absent", "runsc"])
    expect(features[name]).toMatchObject({ recursiveReadOnlyMounts: false, userNamespaces: false });
});

test("a handler that is not configured, or not installed, is refused by name", async () => {
  await expect(pod("unknown", {}, "kata")).rejects.toMatchObject({
    code: "NOT_FOUND",
    message: expect.stringMatching(/"kata".*runc, crun, runsc, absent/),
  });
  const absent = await pod("absent", {}, "absent");
  await expect(container(absent, "c", ["true"])).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringContaining("/no/such/runtime is not installed"),
  });
  await remove(absent);
});

describe.each(["crun", "runsc"])("%s", handler => {
  test("runs containers, commands in them and their logs to the exit code", async () => {
    const p = await pod(`life-${handler}`, {}, handler);
    const waiting = await container(p, "waiting", ["true"]);
    expect((await status(waiting)).state).toBe(ContainerState.CONTAINER_CREATED);
    const short = await started(p, "short", {}, ["sh", "-c", "echo out; echo err >&2; exit 7"]);
    await eventually("its exit", async () => (await status(short)).state === ContainerState.CONTAINER_EXITED);
    expect(await status(short)).toMatchObject({ exitCode: 7, reason: "Error" });
    const log = readFileSync((await status(short)).logPath, "utf8");
    expect(log).toMatch(/^\S+ stdout F out$/m);
    expect(log).toMatch(/^\S+ stderr F err$/m);

    const long = await started(p, "long");
    const { exitCode, stdout, stderr } = await daemon.runtime.execSync({
      containerId: long,
      cmd: ["sh", "-c", "echo a; echo b >&2; exit 4"],
    });
    expect([exitCode, Buffer.from(stdout).toString(), Buffer.from(stderr).toString()]).toEqual([
      4,
      "a\n",
      "b\n",
    ]);
    await expect(
      daemon.runtime.execSync({ containerId: long, cmd: ["sleep", "100"], timeout: 1n }),
    ).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect(await exec(long, "sh", "-c", "ps | grep -c '[s]leep 100$' || true")).toBe("0");
    await expect(daemon.runtime.execSync({ containerId: long, cmd: ["/no/such"] })).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining("/no/such"),
    });
    await daemon.runtime.stopContainer({ containerId: long, timeout: 0n });
    expect(await status(long)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 137 });
    await remove(p);
  });

  test("is found again after the daemon was killed, waiting, running and ended", async () => {
    const p = await pod(`again-${handler}`, {}, handler);
    const waiting = await container(p, "waiting", ["sh", "-c", "exit 3"]);
    const running = await started(p, "running");
    const ending = await started(p, "ending", {}, ["sh", "-c", "sleep 1; exit 9"]);
    await daemon.kill();
    await eventually("the end of one in the meantime", () =>
      existsSync(join(daemon.root, "state/runtime/exits", ending)),
    );
    await daemon.start();
    expect((await status(waiting)).state).toBe(ContainerState.CONTAINER_CREATED);
    expect((await status(running)).state).toBe(ContainerState.CONTAINER_RUNNING);
    expect(await status(ending)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 9 });
    expect(await exec(running, "echo", "still here")).toBe("still here");
    await daemon.runtime.startContainer({ containerId: waiting });
    await eventually("its exit", async () => (await status(waiting)).exitCode === 3);
    await remove(p);
  });
});
