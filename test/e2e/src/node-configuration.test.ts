import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { NamespaceMode } from "@ocid/cri-api";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

// What the node's own configuration brings to containers: OCI hooks, and processors for workloads.

const workload = `
[workloads.management]
activation_annotation = "target.test/management"
annotation_prefix = "resources.test"
resources = { cpushares = 200, cpuset = "0" }
`;

let daemon: DaemonUnderTest;
const { pod, container, started, exec, remove, status } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest({ config: `${process.env["OCID_E2E_CONFIG"] ?? ""}\n${workload}` });
  await daemon.images.pullImage({ image: { image: daemon.image } });
  mkdirSync(join(daemon.root, "hooks"));
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

describe("a hook of the node", () => {
  const file = (name: string) => join(daemon.root, "hooks", name);
  const lines = (): readonly { readonly id: string; readonly status: string }[] =>
    existsSync(join(daemon.root, "seen"))
      ? readFileSync(join(daemon.root, "seen"), "utf8")
          .trim()
          .split("\n")
          .map(line => JSON.parse(line))
      : [];
  const write = (name: string, more: object = {}) => {
    const note = `cat >> ${join(daemon.root, "seen")}; echo >> ${join(daemon.root, "seen")}`;
    writeFileSync(
      file(name),
      JSON.stringify({
        version: "1.0.0",
        hook: { path: "/bin/sh", args: ["sh", "-c", note], timeout: 30 },
        when: { annotations: { "^hook\\.test/on$": "^yes$" } },
        stages: ["prestart", "createRuntime", "poststop"],
        ...more,
      }),
    );
  };

  test("runs in its stages, for containers of which its conditions are true", async () => {
    write("10-note.json");
    const without = await pod("hook-without");
    await started(without, "c");
    const p = await pod("hook-with", { annotations: { "hook.test/on": "yes" } });
    const c = await started(p, "c");
    expect(lines().map(({ id }) => id)).toEqual([c, c]);
    expect(lines()[1]!.status).not.toBe("stopped");
    await remove(p);
    await eventually("the hook after the end", () => lines().length === 3);
    expect(lines()[2]).toMatchObject({ id: c, status: "stopped" });
    await remove(without);
    expect(lines()).toHaveLength(3);
  });

  test("that fails keeps its container from being made, and nothing is left", async () => {
    write("10-note.json", {
      hook: { path: "/bin/false" },
      when: { always: true },
      stages: ["createRuntime"],
    });
    const p = await pod("hook-fails");
    await expect(container(p, "c", ["sleep", "100"])).rejects.toMatchObject({
      message: expect.stringMatching(/hook/i),
    });
    expect((await daemon.runtime.listContainers({})).containers).toEqual([]);
    await remove(p);
  });

  test("whose file cannot be used is named, and containers are made once it is mended", async () => {
    write("20-bad.json", { when: { always: true, comands: ["x"] } });
    rmSync(file("10-note.json"));
    const p = await pod("hook-bad");
    await expect(container(p, "c", ["sleep", "100"])).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining(`${file("20-bad.json")}: when has "comands", which is not known`),
    });
    expect((await daemon.runtime.listContainers({})).containers).toEqual([]);
    await daemon.stop();
    await daemon.start();
    expect(daemon.log()).toContain(file("20-bad.json"));
    rmSync(file("20-bad.json"));
    await started(p, "c");
    await remove(p);
  });
});

describe("a pod of a workload", () => {
  const processors = (id: string, pid = "self") =>
    exec(id, "sed", "-n", "s/Cpus_allowed_list:\\s*//p", `/proc/${pid}/status`);
  const cpu = async (id: string) => (await status(id)).resources?.linux;

  test("has its containers and its pause process on the workload's processors", async () => {
    const p = await pod("pinned", {
      annotations: { "target.test/management": "", "resources.test/other": '{"cpushares": 300}' },
      linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } },
    });
    const c = await started(p, "c", { linux: { resources: { cpuShares: 1000n } } });
    expect([await processors(c), await processors(c, "1")]).toEqual(["0", "0"]);
    expect(await cpu(c)).toMatchObject({ cpuShares: 200n, cpusetCpus: "0" });
    const other = await started(p, "other");
    expect(await cpu(other)).toMatchObject({ cpuShares: 300n, cpusetCpus: "0" });

    await daemon.runtime.updateContainerResources({
      containerId: c,
      linux: { cpuShares: 500n, cpusetCpus: "0-63", memoryLimitInBytes: 67_108_864n },
    });
    expect(await processors(c)).toBe("0");
    expect(await cpu(c)).toMatchObject({ cpuShares: 200n, cpusetCpus: "0", memoryLimitInBytes: 67_108_864n });
    await remove(p);
  });

  test("with an annotation that cannot be used is refused, and others are as they were", async () => {
    const p = await pod("pinned-badly", {
      annotations: { "target.test/management": "", "resources.test/c": '{"cpuset": "none"}' },
    });
    await expect(container(p, "c", ["sleep", "100"])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("annotation resources.test/c: resources.cpuset should be"),
    });
    expect((await daemon.runtime.listContainers({})).containers).toEqual([]);
    await remove(p);
    const ordinary = await pod("ordinary");
    const c = await started(ordinary, "c", { linux: { resources: { cpuShares: 1000n } } });
    expect(await cpu(c)).toMatchObject({ cpuShares: 1000n, cpusetCpus: "" });
    await remove(ordinary);
  });
});
