import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

let daemon: DaemonUnderTest;
const { pod, container, started, exec, remove } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
  mkdirSync(join(daemon.root, "cdi"));
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

describe("devices", () => {
  test("of the node have the rights that were asked for", async () => {
    const p = await pod("devices");
    const c = await started(p, "c", {
      devices: [{ hostPath: "/dev/zero", containerPath: "/dev/other/zeros", permissions: "r" }],
    });
    expect(await exec(c, "sh", "-c", "head -c 3 /dev/other/zeros | wc -c")).toBe("3");
    await remove(p);
  });

  test("of CDI bring nodes, environment, mounts, groups and hooks", async () => {
    const shared = join(daemon.root, "cdi-shared");
    mkdirSync(shared);
    writeFileSync(join(shared, "lib"), "a driver\n");
    const edits = {
      env: ["GPU=one"],
      deviceNodes: [{ path: "/dev/gpu0", hostPath: "/dev/null" }],
      mounts: [{ hostPath: shared, containerPath: "/driver", options: ["ro", "rbind"] }],
      additionalGids: [4321],
      hooks: [
        {
          hookName: "createRuntime",
          path: "/bin/sh",
          args: ["sh", "-c", `cat > ${join(daemon.root, "hook-saw")}`],
        },
      ],
    };
    writeFileSync(
      join(daemon.root, "cdi/vendor.json"),
      JSON.stringify({
        cdiVersion: "0.7.0",
        kind: "vendor.test/gpu",
        devices: [{ name: "0", containerEdits: edits }],
      }),
    );
    const p = await pod("cdi");
    const c = await started(p, "c", { CDIDevices: [{ name: "vendor.test/gpu=0" }] });
    expect(await exec(c, "sh", "-c", "echo gone > /dev/gpu0; echo $GPU; cat /driver/lib; id -G")).toMatch(
      /^one\na driver\n.*4321/,
    );
    expect(JSON.parse(readFileSync(join(daemon.root, "hook-saw"), "utf8")).id).toBe(c);
    await remove(p);
  });

  test("that are not there are named, and leave nothing", async () => {
    const p = await pod("cdi-none");
    for (const [name, code] of [
      ["vendor.test/gpu=9", "NOT_FOUND"],
      ["nonsense", "INVALID_ARGUMENT"],
    ])
      await expect(container(p, "c", ["true"], { CDIDevices: [{ name }] })).rejects.toMatchObject({
        code,
        message: expect.stringContaining(name!),
      });
    expect((await daemon.runtime.listContainers({})).containers).toEqual([]);
    await remove(p);
  });
});
