import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ContainerState } from "@ocid/cri-api";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { pushCheckpointImage } from "./checkpoint-image.ts";
import { type DaemonUnderTest, eventually } from "./daemon-under-test.ts";
import { podActions, type TestPod } from "./pod-actions.ts";
import { type RestoreUnderTest, runs, startRestoreUnderTest } from "./restore-under-test.ts";

let under: RestoreUnderTest;
let daemon: DaemonUnderTest;
const { pod, container, exec, remove, status } = podActions(() => daemon);

beforeAll(async () => {
  under = await startRestoreUnderTest();
  daemon = under.daemon;
});

afterAll(async () => {
  await under[Symbol.asyncDispose]();
});

beforeEach(() => {
  for (const name of ["broken", "slow", "begun"]) rmSync(under.inBin(name), { force: true });
});

const made = (in_: TestPod, image: string) => container(in_, "c", runs, { image: { image } });
const start = (containerId: string) => daemon.runtime.startContainer({ containerId });
const stateOf = async (id: string) => (await status(id)).state;
/** Until the runtime has begun a restore, which goes on as long as `slow` is there. */
async function restoring(): Promise<void> {
  await eventually("a restore", () => existsSync(under.inBin("begun")));
  rmSync(under.inBin("begun"));
}
const logOf = (in_: string) => readFileSync(join(daemon.root, "logs", in_, "c.log"), "utf8");

describe("a container that is restored", () => {
  test("has the image below the checkpoint, its changes, a log, streams and an exit code of its own", async () => {
    const p = await pod("thawed");
    const c = await made(p, under.frozen);
    const { status: created, info } = await daemon.runtime.containerStatus({ containerId: c, verbose: true });
    const { image: base } = await daemon.images.imageStatus({ image: { image: daemon.image } });
    expect(created).toMatchObject({
      state: ContainerState.CONTAINER_CREATED,
      image: { image: under.frozen },
      imageRef: base!.repoDigests[0],
      imageId: base!.id,
    });
    expect(JSON.parse(info["info"]!)).toMatchObject({
      restored: true,
      pid: 0,
      checkpointedAt: expect.stringMatching(/^20/),
    });
    await expect(daemon.images.removeImage({ image: { image: under.frozen } })).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
    });
    await start(c);
    expect(await stateOf(c)).toBe(ContainerState.CONTAINER_RUNNING);
    expect(await exec(c, "cat", "/new", "/tmp/deep")).toBe("kept\ndeep");
    await expect(exec(c, "ls", "/bin/seq")).rejects.toThrow("No such file");
    await eventually("its log", () => logOf("thawed").includes("restored"));
    await expect(start(c)).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    // Its memory is its own now.
    expect(readdirSync(under.inState("image-mounts"))).toEqual([]);
    await daemon.images.removeImage({ image: { image: under.frozen } });
    await daemon.images.pullImage({ image: { image: under.frozen } });
    await daemon.runtime.stopContainer({ containerId: c, timeout: 30n });
    expect(await status(c)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 7 });
    await remove(p);
    under.expectNothingLeft();
  });

  test("comes from an archive on the node as well, under the annotation of criu's, and by digest", async () => {
    const p = await pod("ways");
    const other = await pushCheckpointImage(daemon.registry, "test/criu", under.archive, {
      "org.criu.checkpoint.container.name": "c",
    });
    await daemon.images.pullImage({ image: { image: other } });
    const { image } = await daemon.images.imageStatus({ image: { image: other } });
    for (const [at, from] of [under.archive, other, image!.repoDigests[0]!].entries()) {
      const c = await container(p, `c${at}`, runs, { image: { image: from } });
      await start(c);
      expect(await exec(c, "cat", "/new")).toBe("kept");
      expect(existsSync(under.inState(`records/${c}/restore`))).toBe(false);
    }
    await remove(p);
    under.expectNothingLeft();
  });

  test("pulls the image below when it is not there, by its digest", async () => {
    await daemon.images.removeImage({ image: { image: daemon.image } });
    const p = await pod("pulled");
    const c = await made(p, under.frozen);
    await start(c);
    expect(await exec(c, "cat", "/new")).toBe("kept");
    await remove(p);
    await daemon.images.pullImage({ image: { image: daemon.image } });
  });

  test("that criu cannot restore tells criu's reason, stays created without a trace, and can be started later", async () => {
    const p = await pod("broken");
    const c = await made(p, under.frozen);
    writeFileSync(under.inBin("broken"), "");
    for (let attempt = 0; attempt < 2; attempt++) {
      await expect(start(c)).rejects.toMatchObject({
        code: "FAILED_PRECONDITION",
        message: expect.stringMatching(/could not be restored.*criu: pages do not fit; Restoring FAILED/),
      });
      expect(await stateOf(c)).toBe(ContainerState.CONTAINER_CREATED);
      expect(readdirSync(under.inState("runtime/runtimes/without-criu"))).toEqual([]);
      expect(readdirSync(under.inState("runtime/exits"))).toEqual([]);
    }
    rmSync(under.inBin("broken"));
    await start(c);
    expect(await stateOf(c)).toBe(ContainerState.CONTAINER_RUNNING);
    await remove(p);
    under.expectNothingLeft();
  });

  test("can be stopped and removed before it was started, and while it is restored", async () => {
    const p = await pod("ended");
    const c = await made(p, under.frozen);
    await daemon.runtime.stopContainer({ containerId: c, timeout: 10n });
    expect(await status(c)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 137 });
    await expect(start(c)).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    await daemon.runtime.removeContainer({ containerId: c });
    writeFileSync(under.inBin("slow"), "");
    rmSync(under.inBin("begun"), { force: true });
    const d = await made(p, under.archive);
    const starting = expect(start(d)).rejects.toMatchObject({
      message: expect.stringContaining("stopped or removed"),
    });
    await restoring();
    await daemon.runtime.stopContainer({ containerId: d, timeout: 10n });
    await starting;
    expect(await stateOf(d)).toBe(ContainerState.CONTAINER_EXITED);
    await remove(p);
    under.expectNothingLeft();
  });

  test("outlives the daemon, and waits or runs after a kill at any moment", async () => {
    const p = await pod("killed");
    const c = await made(p, under.frozen);
    await daemon.kill();
    await daemon.start();
    expect(await stateOf(c)).toBe(ContainerState.CONTAINER_CREATED);
    writeFileSync(under.inBin("slow"), "");
    // Killed in the middle: what was begun is undone, and begun anew.
    rmSync(under.inBin("begun"), { force: true });
    void start(c).catch(() => {});
    await restoring();
    await daemon.kill();
    await daemon.start();
    expect(await stateOf(c)).toBe(ContainerState.CONTAINER_CREATED);
    // Killed in the middle, and the runtime has gone through with it: whether its monitor has too, without anybody to
    // tell, is the monitor's matter.
    rmSync(under.inBin("begun"), { force: true });
    void start(c).catch(() => {});
    await restoring();
    await daemon.kill();
    rmSync(under.inBin("slow"));
    await eventually("the restore", () => existsSync(under.inState(`runtime/containers/${c}/pid`)));
    await daemon.start();
    if ((await stateOf(c)) === ContainerState.CONTAINER_CREATED) await start(c);
    expect(await stateOf(c)).toBe(ContainerState.CONTAINER_RUNNING);
    expect((await status(c)).startedAt).toBeGreaterThan(0n);
    expect(await exec(c, "cat", "/new")).toBe("kept");
    await daemon.runtime.stopContainer({ containerId: c, timeout: 30n });
    expect((await status(c)).exitCode).toBe(7);
    await remove(p);
    under.expectNothingLeft();
  });
});
