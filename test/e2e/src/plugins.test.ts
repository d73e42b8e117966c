import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connectPlugin, type PluginHandlers, type TestPlugin } from "@ocid/nri/testing";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

let daemon: DaemonUnderTest;
const { pod, container, started, exec, remove, status } = podActions(() => daemon);
const connected: TestPlugin[] = [];

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

afterEach(async () => {
  for (const plugin of connected.splice(0)) await plugin[Symbol.asyncDispose]();
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

async function plugin(handlers: PluginHandlers, index = "50", name = "test"): Promise<TestPlugin> {
  const one = await connectPlugin(join(daemon.root, "nri.sock"), { index, name }, handlers);
  connected.push(one);
  return one;
}

/** The bundle's configuration, as the runtime has got it. */
function configOf(id: string) {
  return JSON.parse(
    readFileSync(join(daemon.root, "state/runtime/containers", id, "bundle/config.json"), "utf8"),
  );
}

function recording(events: string[]): PluginHandlers {
  const podNote =
    (what: string) => async (request: { readonly pod?: { readonly name: string } | undefined }) => {
      events.push(`${what} ${request.pod?.name}`);
      return {};
    };
  const note =
    (what: string) => async (request: { readonly container?: { readonly name: string } | undefined }) => {
      events.push(`${what} ${request.container?.name}`);
      return {};
    };
  return {
    runPodSandbox: podNote("run"),
    stopPodSandbox: podNote("stopPod"),
    removePodSandbox: podNote("removePod"),
    createContainer: note("create"),
    postCreateContainer: note("postCreate"),
    startContainer: note("start"),
    postStartContainer: note("postStart"),
    updateContainer: note("update"),
    postUpdateContainer: note("postUpdate"),
    stopContainer: note("stop"),
    removeContainer: note("remove"),
  };
}

describe("plugins", () => {
  test("see the life of pods and containers, in order and once", async () => {
    const events: string[] = [];
    await plugin(recording(events));
    const p = await pod("seen");
    const c = await started(p, "c");
    await daemon.runtime.updateContainerResources({ containerId: c, linux: { cpuShares: 300n } });
    await daemon.runtime.stopContainer({ containerId: c, timeout: 0n });
    await daemon.runtime.stopContainer({ containerId: c, timeout: 0n });
    await daemon.runtime.removeContainer({ containerId: c });
    const short = await started(p, "short", {}, ["false"]);
    await eventually("the end is told", () => events.includes("stop short"));
    await daemon.runtime.removeContainer({ containerId: short });
    await started(p, "left");
    await daemon.runtime.stopPodSandbox({ podSandboxId: p.id });
    await daemon.runtime.stopPodSandbox({ podSandboxId: p.id });
    await remove(p);
    const made = (name: string) =>
      ["create", "postCreate", "start", "postStart"].map(what => `${what} ${name}`);
    expect(events).toEqual([
      "run seen",
      ...made("c"),
      "update c",
      "postUpdate c",
      "stop c",
      "remove c",
      ...made("short"),
      "stop short",
      "remove short",
      ...made("left"),
      "stop left",
      "stopPod seen",
      "remove left",
      "removePod seen",
    ]);
  });

  test("are told what pods and containers are", async () => {
    const seen: object[] = [];
    const keep = async (request: object) => {
      seen.push(request);
      return {};
    };
    await plugin({ createContainer: keep, postStartContainer: keep });
    const p = await pod("told", { labels: { app: "x" }, annotations: { note: "y" } });
    const c = await started(p, "c", {
      labels: { part: "z" },
      envs: [{ key: "MODE", value: Buffer.from("quick") }],
      linux: { resources: { memoryLimitInBytes: 64n * 1024n * 1024n, oomScoreAdj: 500n } },
    });
    await remove(p);
    const podSeen = {
      id: p.id,
      name: "told",
      namespace: "e2e",
      uid: "uid-told",
      labels: { app: "x" },
      annotations: { note: "y" },
      ips: [expect.stringContaining(daemon.addresses)],
      linux: {
        cgroupParent: expect.stringMatching(/^\//),
        namespaces: expect.arrayContaining([
          { $typeName: expect.anything(), type: "network", path: expect.any(String) },
        ]),
      },
    };
    const common = {
      id: c,
      podSandboxId: p.id,
      name: "c",
      labels: { part: "z" },
      args: ["sleep", "1000"],
      env: expect.arrayContaining(["MODE=quick"]),
      linux: {
        resources: { memory: { limit: { value: 64n * 1024n * 1024n } } },
        oomScoreAdj: { value: 500n },
        cgroupsPath: expect.stringContaining(c),
      },
    };
    expect(seen).toMatchObject([
      { pod: podSeen, container: common },
      { pod: podSeen, container: { ...common, state: 3, pid: expect.any(Number) } },
    ]);
  });

  test("adjust containers", async () => {
    const volume = join(daemon.root, "volume");
    mkdirSync(volume, { recursive: true });
    writeFileSync(join(volume, "file"), "of a plugin\n");
    const hooked = join(daemon.root, "hooked");
    await plugin({
      createContainer: async () => ({
        adjust: {
          args: ["sleep", "999"],
          annotations: { "adjusted.test/by": "plugin" },
          env: [
            { key: "ADDED", value: "yes" },
            { key: "-GONE", value: "" },
          ],
          mounts: [
            { destination: "-/taken-away" },
            { destination: "/volume", type: "bind", source: volume, options: ["rbind", "ro"] },
          ],
          hooks: { createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", `cat > ${hooked}`] }] },
          rlimits: [{ type: "RLIMIT_NOFILE", hard: 77n, soft: 66n }],
          linux: {
            devices: [
              { path: "/dev/plugin-null", type: "c", major: 1n, minor: 3n, fileMode: { value: 0o666 } },
            ],
            sysctl: { "net.ipv4.ip_unprivileged_port_start": "99" },
            oomScoreAdj: { value: 700n },
            resources: {
              memory: { limit: { value: 48n * 1024n * 1024n } },
              cpu: { shares: { value: 333n } },
            },
          },
        },
      }),
    });
    const p = await pod("adjusted");
    const c = await started(p, "c", {
      envs: [{ key: "GONE", value: Buffer.from("1") }],
      mounts: [{ hostPath: volume, containerPath: "/taken-away" }],
      linux: { resources: { cpuShares: 100n } },
    });
    expect(
      await exec(
        c,
        "sh",
        "-c",
        "echo $ADDED-$GONE; cat /volume/file; ls -d /taken-away 2>/dev/null; echo x > /dev/plugin-null && echo written; cat /proc/1/oom_score_adj; cat /proc/1/cmdline | tr '\\0' ' '; grep 'open files' /proc/1/limits; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
      ),
    ).toMatch(/^yes-\nof a plugin\nwritten\n700\nsleep 999 .*66 +77 +files.*\n99$/s);
    expect(JSON.parse(readFileSync(hooked, "utf8")).id).toBe(c);
    expect(configOf(c).annotations["adjusted.test/by"]).toBe("plugin");
    expect((await status(c)).resources?.linux).toMatchObject({
      cpuShares: 333n,
      memoryLimitInBytes: 48n * 1024n * 1024n,
    });
    await remove(p);
  });

  test("are refused when two adjust the same, and the pod goes on", async () => {
    const same: PluginHandlers = {
      createContainer: async () => ({ adjust: { env: [{ key: "A", value: "1" }] } }),
    };
    await plugin(same, "10", "one");
    const second = await plugin(same, "20", "two");
    const p = await pod("conflict");
    await expect(container(p, "c", ["true"])).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringMatching(/plugins "20-two" and "10-one" both tried to set Env "A"/),
    });
    expect((await daemon.runtime.listContainers({})).containers).toEqual([]);
    await second[Symbol.asyncDispose]();
    await started(p, "c");
    await remove(p);
  });

  test("that object keep a pod from being made, and leave nothing", async () => {
    const events: string[] = [];
    let objecting = true;
    await plugin({
      ...recording(events),
      runPodSandbox: async () => {
        if (objecting) throw new Error("no room");
        return {};
      },
    });
    await expect(pod("refused")).rejects.toThrow(/plugin 50-test: RunPodSandbox: no room/);
    expect((await daemon.runtime.listPodSandbox({})).items).toEqual([]);
    expect(events).toEqual(["removePod refused"]);
    objecting = false;
    await remove(await pod("refused"));
  });

  test("that hang, crash or talk nonsense harm no pod", async () => {
    const hung = await plugin({ createContainer: () => new Promise(() => {}) }, "10", "hung");
    const crashing = await plugin(
      {
        startContainer: async () => {
          await crashing[Symbol.asyncDispose]();
          return {};
        },
      },
      "20",
      "crashing",
    );
    const p = await pod("unharmed");
    const c = await started(p, "c");
    expect((await status(c)).state).toBe(1);
    await hung.closed;
    expect(daemon.log()).toMatch(/plugin is cut off.*10-hung/);
    await plugin({
      createContainer: async () => ({
        adjust: { mounts: [{ destination: "../../etc", type: "bind", source: "x" }] },
      }),
    });
    await expect(container(p, "other", ["true"])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await remove(p);
  });

  test("change limits: when asked, of other containers, by themselves; and evict", async () => {
    const p = await pod("limits");
    const first = await started(p, "first", { linux: { resources: { cpuShares: 100n } } });
    const shares = async (id: string) => (await status(id)).resources?.linux?.cpuShares;
    const update = (containerId: string, value: bigint) => ({
      containerId,
      linux: { resources: { cpu: { shares: { value } } } },
    });
    const one = await plugin({
      createContainer: async () => ({ update: [update(first, 200n)] }),
      updateContainer: async ({ container: { id } = { id: "" } }) => ({ update: [update(id, 400n)] }),
    });
    const second = await started(p, "second", { linux: { resources: { cpuShares: 100n } } });
    expect(await shares(first)).toBe(200n);
    await daemon.runtime.updateContainerResources({ containerId: second, linux: { cpuShares: 300n } });
    expect(await shares(second)).toBe(400n);
    const failed = await one.update({ update: [update(first, 500n), update("f".repeat(64), 1n)] });
    expect(failed.map(({ containerId }) => containerId)).toEqual(["f".repeat(64)]);
    expect(await shares(first)).toBe(500n);
    await one.update({ evict: [{ containerId: second, reason: "there is no room" }] });
    await eventually("the container is stopped", async () => (await status(second)).state === 2, 40_000);
    expect(daemon.log()).toContain("there is no room");
    expect((await status(first)).state).toBe(1);

    // A restart keeps what plugins have set, and tells those that come again.
    await daemon.kill();
    await one.closed;
    await daemon.start();
    expect(await shares(first)).toBe(500n);
    const synchronized: object[] = [];
    await plugin({
      synchronize: async request => {
        synchronized.push(request);
        return {};
      },
    });
    expect(synchronized).toMatchObject([
      {
        pods: [{ id: p.id }],
        containers: [{ id: first, state: 3, linux: { resources: { cpu: { shares: { value: 500n } } } } }],
      },
    ]);
    await remove(p);
  });

  test("cannot be told of a pod or container before its question is answered", async () => {
    const reached = Promise.withResolvers<string>();
    const go = Promise.withResolvers<void>();
    await plugin({
      runPodSandbox: async request => {
        reached.resolve(request.pod!.id);
        await go.promise;
        return {};
      },
    });
    const making = pod("hidden");
    const id = await reached.promise;
    expect((await daemon.runtime.listPodSandbox({})).items).toEqual([]);
    await expect(daemon.runtime.podSandboxStatus({ podSandboxId: id })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
    const late: string[] = [];
    await plugin(
      {
        synchronize: async request => {
          late.push(...request.pods.map(one => one.name));
          return {};
        },
        runPodSandbox: async () => {
          late.push("asked");
          return {};
        },
      },
      "60",
    );
    go.resolve();
    await remove(await making);
    expect(late).toEqual(["hidden"]);
  });

  test("in the daemon's directory are started with it, get their configuration, and end with it", async () => {
    const plugins = join(daemon.root, "nri-plugins");
    const testing = join(import.meta.dirname, "../../../packages/nri/src/testing/index.ts");
    const out = join(daemon.root, "installed");
    mkdirSync(plugins);
    const program = (name: string, text: string) => {
      writeFileSync(join(plugins, name), text);
      chmodSync(join(plugins, name), 0o755);
    };
    program(
      "10-installed",
      `#!/usr/bin/env -S ${process.execPath} --conditions=@ocid/source --no-warnings
import { writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { connectPlugin } from ${JSON.stringify(testing)};
const plugin = await connectPlugin(new Socket({ fd: Number(process.env.NRI_PLUGIN_SOCKET) }), { index: "", name: "" }, {
  configure: async ({ config, runtimeName }) => {
    writeFileSync(${JSON.stringify(out)}, JSON.stringify({ config, runtimeName, pid: process.pid, env: Object.keys(process.env).sort() }));
    return { events: 8 };
  },
  createContainer: async () => ({ adjust: { env: [{ key: "INSTALLED", value: process.env.NRI_PLUGIN_NAME }] } }),
});
await plugin.closed;
`,
    );
    program("20-ends", "#!/bin/sh\nexit 1\n");
    program("nameless", "#!/bin/sh\nexit 1\n");
    await daemon.stop();
    await daemon.start();
    const first = JSON.parse(readFileSync(out, "utf8"));
    expect(first).toMatchObject({
      config: "",
      runtimeName: "ocid",
      env: ["NRI_PLUGIN_IDX", "NRI_PLUGIN_NAME", "NRI_PLUGIN_SOCKET"],
    });
    expect(daemon.log()).toMatch(/an installed plugin cannot be started.*20-ends/);
    expect(daemon.log()).toMatch(/not the name of a plugin.*nameless/);
    const p = await pod("installed");
    const c = await started(p, "c");
    expect(await exec(c, "sh", "-c", "echo $INSTALLED")).toBe("installed");
    await daemon.kill();
    await eventually("the plugin ends with the daemon", () => !existsSync(`/proc/${first.pid}`));
    await daemon.start();
    const second = await started(p, "second");
    expect(await exec(second, "sh", "-c", "echo $INSTALLED")).toBe("installed");
    const { pid } = JSON.parse(readFileSync(out, "utf8"));
    await remove(p);
    await daemon.stop();
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    rmSync(plugins, { recursive: true });
    await daemon.start();
  });
});
