import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RuntimeSpec } from "@ocid/spec";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ContainerUpdate } from "./gen/nri_pb.js";
import { Event } from "./gen/nri_pb.js";
import { Nri } from "./nri.ts";
import { connectPlugin, type PluginHandlers } from "./testing/index.ts";
import type { NriContainer, NriOptions, NriPod, Wishes } from "./types.ts";

const spec: RuntimeSpec = {
  ociVersion: "1.0.2",
  process: { user: { uid: 0, gid: 0 }, args: ["true"], env: [], cwd: "/" },
  root: { path: "/r" },
  mounts: [],
  linux: { namespaces: [] },
};
const pod: NriPod = {
  id: "p",
  name: "pod",
  uid: "u",
  namespace: "ns",
  labels: {},
  annotations: {},
  runtimeHandler: "",
  ips: ["10.0.0.1"],
  cgroupParent: "/p",
  namespaces: [],
};
const container: NriContainer = {
  id: "c",
  podId: "p",
  name: "box",
  state: "created",
  labels: {},
  annotations: {},
  spec,
  createdAtNs: 0n,
};
const injectDevices = (before: RuntimeSpec) => before;

let directory: string;
let socketPath: string;
let nri: Nri | undefined;
let fulfilled: Wishes[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "nri-"));
  socketPath = join(directory, "sub/nri.sock");
  fulfilled = [];
});

afterEach(async () => {
  await nri?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

async function serve(
  options: Partial<NriOptions> = {},
  state = { pods: [pod], containers: [container] },
): Promise<Nri> {
  nri = new Nri({
    socketPath,
    runtime: { name: "test", version: "1" },
    requestTimeoutMs: 500,
    registrationTimeoutMs: 500,
    ...options,
  });
  await nri.start({
    state: async () => state,
    async fulfil(wishes) {
      fulfilled.push(wishes);
      return wishes.updates.filter(update => update.containerId === "gone");
    },
  });
  return nri;
}

const plugin = (index: string, handlers: PluginHandlers, name = "test") =>
  connectPlugin(socketPath, { index, name }, handlers);

describe("a plugin", () => {
  test("is configured, told what there is, and asked from then on", async () => {
    const seen: unknown[] = [];
    const runtime = await serve();
    expect(runtime.active).toBe(false);
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    await using _ = await plugin("10", {
      configure: async request => {
        seen.push(request);
        return { events: (1 << (Event.RUN_POD_SANDBOX - 1)) | (1 << (Event.POST_START_CONTAINER - 1)) };
      },
      synchronize: async request => {
        seen.push(request);
        return {};
      },
      runPodSandbox: async request => {
        seen.push(request);
        return {};
      },
      postStartContainer: async request => {
        seen.push(request);
        return {};
      },
    });
    expect(runtime.plugins).toEqual(["10-test"]);
    await runtime.podEvent("run", pod);
    await runtime.podEvent("stop", pod);
    await runtime.containerEvent("postStart", pod, container);
    expect(seen).toMatchObject([
      { runtimeName: "test", runtimeVersion: "1", requestTimeout: 500n },
      { pods: [{ id: "p", ips: ["10.0.0.1"] }], containers: [{ id: "c", name: "box" }], more: false },
      { pod: { id: "p", namespace: "ns", linux: { cgroupParent: "/p" } } },
      { pod: { id: "p" }, container: { id: "c", args: ["true"] } },
    ]);
  });

  test("is told in several requests of what does not fit into one", async () => {
    const big = { ...container, labels: { text: "x".repeat(1024 * 1024) } };
    const containers = Array.from({ length: 10 }, (_, at) => ({ ...big, id: `c${at}` }));
    const parts: string[][] = [];
    await serve({ requestTimeoutMs: 10_000 }, { pods: [pod], containers });
    await using _ = await plugin("00", {
      synchronize: async request => {
        parts.push(request.containers.map(({ id }) => id));
        return { more: request.more };
      },
    });
    expect(parts.length).toBeGreaterThan(2);
    expect(parts.flat()).toEqual(containers.map(({ id }) => id));
  });

  test("that is old is told by StateChange", async () => {
    const runtime = await serve();
    const seen: Event[] = [];
    await using _ = await plugin("00", {
      stateChange: async ({ event }) => {
        seen.push(event);
        return {};
      },
      createContainer: async () => ({}),
    });
    await runtime.podEvent("run", pod);
    await runtime.containerEvent("start", pod, container);
    expect(seen).toEqual([Event.RUN_POD_SANDBOX, Event.START_CONTAINER]);
  });

  test("that answers with an error makes the request fail, and is asked again", async () => {
    const runtime = await serve();
    let asked = 0;
    await using _ = await plugin("07", {
      runPodSandbox: async () => {
        if (++asked === 1) throw new Error("not today");
        return {};
      },
    });
    await expect(runtime.podEvent("run", pod)).rejects.toThrow(/plugin 07-test: RunPodSandbox: not today/);
    await runtime.podEvent("run", pod);
    expect(asked).toBe(2);
  });

  test("that does not answer is cut off, and the request goes on", async () => {
    const runtime = await serve({ requestTimeoutMs: 50 });
    await using hung = await plugin("00", { createContainer: () => new Promise(() => {}) });
    await using _ = await plugin("01", { createContainer: async () => ({ adjust: { args: ["other"] } }) });
    const { spec: adjusted } = await runtime.createContainer(pod, container, { injectDevices });
    expect(adjusted.process.args).toEqual(["other"]);
    await hung.closed;
    expect(runtime.plugins).toEqual(["01-test"]);
  });

  test("that goes away in the middle of a request does no harm", async () => {
    const runtime = await serve();
    const leaving = await plugin("00", {
      runPodSandbox: async () => {
        await leaving[Symbol.asyncDispose]();
        return {};
      },
    });
    await runtime.podEvent("run", pod);
    expect(runtime.active).toBe(false);
  });

  test("that does not register, says nonsense, or has a wrong name is turned away", async () => {
    await serve({ registrationTimeoutMs: 100 });
    const silent = connect(socketPath);
    const nonsense = connect(socketPath);
    const ends = [silent, nonsense].map(
      socket => new Promise(resolve => socket.on("error", () => {}).on("close", resolve)),
    );
    nonsense.write(Buffer.alloc(64, 0xff));
    await Promise.all(ends);
    for (const [index, name] of [
      ["1", "short"],
      ["00", "a/b"],
      ["00", ""],
    ] as const)
      await expect(plugin(index, {}, name)).rejects.toThrow(/a plugin has an index of two digits/);
    await expect(plugin("00", { configure: async () => ({ events: 1 << 20 }) })).rejects.toThrow();
    await expect(
      plugin("00", {
        synchronize: async () => {
          throw new Error("no");
        },
      }),
    ).rejects.toThrow();
    expect(nri!.active).toBe(false);
  });

  test("asks for updates by itself and hears which failed", async () => {
    await serve();
    await using one = await plugin("00", {});
    const update = (containerId: string) => ({
      containerId,
      linux: { resources: { cpu: { shares: { value: 5n } } } },
    });
    const failed: readonly ContainerUpdate[] = await one.update({
      update: [update("c"), update("gone")],
      evict: [{ containerId: "c", reason: "full" }],
    });
    expect(failed.map(({ containerId }) => containerId)).toEqual(["gone"]);
    expect(fulfilled.at(-1)).toMatchObject({
      updates: [{ containerId: "c", resources: { cpu: { shares: 5 } } }, { containerId: "gone" }],
      evictions: [{ containerId: "c", reason: "full" }],
    });
    await expect(one.update({ update: [update("../x")] })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

describe("plugins", () => {
  test("are asked in the order of their indices, and see what those before have adjusted", async () => {
    const runtime = await serve();
    const envs: string[][] = [];
    const adding = (key: string): PluginHandlers => ({
      createContainer: async request => {
        envs.push(request.container!.env);
        return { adjust: { env: [{ key, value: "1" }] } };
      },
    });
    await using _b = await plugin("20", adding("SECOND"));
    await using _a = await plugin("10", adding("FIRST"));
    const result = await runtime.createContainer(pod, container, { injectDevices });
    expect(envs).toEqual([[], ["FIRST=1"]]);
    expect(result.spec.process.env).toEqual(["FIRST=1", "SECOND=1"]);
  });

  test("that adjust the same make the request fail", async () => {
    const runtime = await serve();
    const same: PluginHandlers = { createContainer: async () => ({ adjust: { args: ["x"] } }) };
    await using _a = await plugin("10", same, "a");
    await using _b = await plugin("20", same, "b");
    await expect(runtime.createContainer(pod, container, { injectDevices })).rejects.toThrow(
      /plugins "20-b" and "10-a" both tried to set Args/,
    );
  });

  test("change an update, and want others of other containers", async () => {
    const runtime = await serve();
    await using _a = await plugin("10", {
      updateContainer: async ({ linuxResources }) => ({
        update: [
          {
            containerId: "c",
            linux: { resources: { cpu: { shares: { value: linuxResources!.cpu!.shares!.value * 2n } } } },
          },
          { containerId: "d", linux: { resources: { pids: { limit: 3n } } } },
        ],
        evict: [{ containerId: "e", reason: "r" }],
      }),
      stopContainer: async () => ({
        update: [{ containerId: "f", linux: { resources: { cpu: { cpus: "0" } } } }],
      }),
    });
    await using _b = await plugin("20", {
      updateContainer: async ({ linuxResources }) => {
        expect(linuxResources!.cpu!.shares!.value).toBe(20n);
        return {};
      },
    });
    expect(await runtime.updateContainer(pod, container, { cpu: { shares: 10, period: 5 } })).toEqual({
      resources: { cpu: { shares: 20, period: 5 } },
      updates: [{ containerId: "d", resources: { pids: { limit: 3 } }, ignoreFailure: false }],
      evictions: [{ containerId: "e", reason: "r" }],
    });
    expect((await runtime.stopContainer(pod, container)).updates).toMatchObject([{ containerId: "f" }]);
  });

  test("that come while a container is made hear of it once", async () => {
    const state = { pods: [pod], containers: [] as NriContainer[] };
    const runtime = await serve({}, state);
    const reached = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    await using _a = await plugin("50", {
      createContainer: async () => {
        reached.resolve();
        await go.promise;
        return {};
      },
    });
    state.containers.push(container);
    const making = runtime.createContainer(pod, container, { injectDevices });
    await reached.promise;
    const heard: string[] = [];
    await using _b = await plugin("10", {
      synchronize: async request => {
        heard.push(...request.containers.map(({ id }) => `synchronized ${id}`));
        return {};
      },
      createContainer: async () => {
        heard.push("created");
        return {};
      },
    });
    go.resolve();
    await making;
    expect(heard).toEqual(["synchronized c"]);
  });

  test("that are being synchronized hear of what comes meanwhile afterwards", async () => {
    const runtime = await serve();
    const reached = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const heard: string[] = [];
    const late = plugin("10", {
      synchronize: async () => {
        reached.resolve();
        await go.promise;
        heard.push("synchronized");
        return {};
      },
      runPodSandbox: async () => {
        heard.push("run");
        return {};
      },
    });
    await reached.promise;
    const running = runtime.podEvent("run", pod);
    go.resolve();
    await running;
    await (await late)[Symbol.asyncDispose]();
    expect(heard).toEqual(["synchronized", "run"]);
  });
});

describe("validators", () => {
  test("that are plugins see the outcome and refuse it", async () => {
    const runtime = await serve();
    await using _a = await plugin("10", {
      createContainer: async () => ({ adjust: { args: ["x"], env: [{ key: "A", value: "1" }] } }),
    });
    let verdict = { reject: false, reason: "" };
    let seen: unknown;
    await using _b = await plugin(
      "90",
      {
        validateContainerAdjustment: async request => {
          seen = request;
          return verdict;
        },
      },
      "judge",
    );
    await runtime.createContainer(pod, container, { injectDevices });
    expect(seen).toMatchObject({
      container: { args: ["true"] },
      adjust: { args: ["x"], env: [{ key: "A" }] },
      plugins: [
        { name: "test", index: "10" },
        { name: "judge", index: "90" },
      ],
      owners: { owners: { c: { simple: { 7: "10-test" }, compound: { 6: { owners: { A: "10-test" } } } } } },
    });
    verdict = { reject: true, reason: "I do not like it" };
    await expect(runtime.createContainer(pod, container, { injectDevices })).rejects.toThrow(
      /validator 90-judge rejected .*: I do not like it/,
    );
  });

  test("of the operator refuse what is not wanted, and containers without their plugins", async () => {
    const runtime = await serve({
      validator: {
        rejectHooks: true,
        rejectSeccomp: ["runtime-default"],
        requiredPlugins: ["test"],
        tolerateMissingAnnotation: "tolerate",
      },
    });
    const make = (more: Partial<NriPod> = {}, own: Partial<NriContainer> = {}) =>
      runtime.createContainer({ ...pod, ...more }, { ...container, ...own }, { injectDevices });
    await expect(make()).rejects.toThrow(/container box needs plugins that are not there: test/);
    await make({ annotations: { "tolerate/container.box": "true" } });
    await expect(make({ annotations: { tolerate: "maybe" } })).rejects.toThrow(/should be true or false/);
    let adjust: object = {};
    await using _ = await plugin("10", { createContainer: async () => ({ adjust }) });
    await make();
    await expect(make({ annotations: { "required-plugins.noderesource.dev": '["more"]' } })).rejects.toThrow(
      /not there: more/,
    );
    await expect(make({ annotations: { "required-plugins.noderesource.dev": "{" } })).rejects.toThrow(
      /should be a list of plugins/,
    );
    adjust = { hooks: { prestart: [{ path: "/x" }] } };
    await expect(make()).rejects.toThrow(
      /hooks of containers may not be adjusted by plugins, but 10-test did/,
    );
    adjust = { linux: { seccompPolicy: { defaultAction: "SCMP_ACT_ALLOW" } } };
    await make();
    await expect(make({}, { seccompProfile: { type: "runtime-default" } })).rejects.toThrow(/seccomp/);
  });
});

test("a socket that another runtime serves is left alone, and one that nobody serves is taken over", async () => {
  const first = await serve();
  await using second = new Nri({ socketPath, runtime: { name: "second", version: "1" } });
  await second.start({ state: async () => ({ pods: [], containers: [] }), fulfil: async () => [] });
  await using _ = await plugin("00", {});
  expect([first.active, second.active]).toEqual([true, false]);
});
