import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CgroupDriver, type ContainerEventResponse, ContainerEventType } from "@ocid/cri-api";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

let daemon: DaemonUnderTest;
const { pod, container, started, exec, remove } = podActions(() => daemon);

// Everything of a checkpoint but criu, which few kernels of CI have: the archive around it is ours.
const withoutCriu = `#!/bin/sh
case " $* " in
  *" checkpoint "*)
    while [ "$1" != --image-path ]; do shift; done
    mkdir -p "$2"; echo pages > "$2/pages-1.img"; echo dumped > "$4/dump.log"; exit 0;;
esac
exec runc "$@"
`;

const template = `{
  "name": "made", "cniVersion": "1.0.0",
  "plugins": [{"type": "bridge", "ipam": {"type": "host-local",
    "ranges": [{{range $i, $r := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$r}}"}]{{end}}],
    "routes": [{{range $i, $r := .Routes}}{{if $i}}, {{end}}{"dst": "{{$r}}"}{{end}}]}}]
}`;

beforeAll(async () => {
  daemon = await startDaemonUnderTest({
    prepare(root) {
      mkdirSync(join(root, "bin"));
      mkdirSync(join(root, "ocid.conf.d"));
      writeFileSync(join(root, "bin/without-criu"), withoutCriu, { mode: 0o755 });
      writeFileSync(join(root, "template"), template);
      writeFileSync(
        join(root, "ocid.conf.d/10-calls.conf"),
        `[network]\nconfig_template = "${join(root, "template")}"\n[runtimes.without-criu]\npath = "${join(root, "bin/without-criu")}"\n`,
      );
      return { path: join(root, "bin") };
    },
  });
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

/** What is told of a pod while something is done. */
async function eventsOf(work: () => Promise<unknown>, isLast: (event: ContainerEventResponse) => boolean) {
  const seen: ContainerEventResponse[] = [];
  const controller = new AbortController();
  const follow = (async () => {
    for await (const event of daemon.runtime.getContainerEvents({}, { signal: controller.signal })) {
      seen.push(event);
      if (isLast(event)) return;
    }
  })();
  // The call has to have arrived.
  await sleep(300);
  await work();
  const timer = setTimeout(() => controller.abort(), 20_000);
  await follow.finally(() => clearTimeout(timer));
  return seen;
}

const { CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT, CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT } =
  ContainerEventType;

describe("events", () => {
  test("tell of a pod and its containers from beginning to end, with the state of the whole pod", async () => {
    let podId = "";
    let id = "";
    const seen = await eventsOf(
      async () => {
        const made = await pod("told", { labels: { app: "told" } });
        podId = made.id;
        id = await started(made, "short", {}, ["sh", "-c", "exit 3"]);
        await eventually(
          "it has ended",
          async () => (await daemon.runtime.listContainers({ filter: { id } })).containers[0]?.state === 2,
        );
        await daemon.runtime.removeContainer({ containerId: id });
        await remove(made);
      },
      event => event.containerId === podId && event.containerEventType === CONTAINER_DELETED_EVENT,
    );
    const of = (wanted: string) =>
      seen.filter(({ containerId }) => containerId === wanted).map(event => event.containerEventType);
    const whole = [
      CONTAINER_CREATED_EVENT,
      CONTAINER_STARTED_EVENT,
      CONTAINER_STOPPED_EVENT,
      CONTAINER_DELETED_EVENT,
    ];
    expect([of(podId), of(id)]).toEqual([whole, whole]);
    for (const event of seen)
      expect(event.podSandboxStatus).toMatchObject({
        id: podId,
        metadata: { uid: "uid-told" },
        labels: { app: "told" },
      });
    const stopped = seen.find(
      event => event.containerId === id && event.containerEventType === CONTAINER_STOPPED_EVENT,
    );
    expect(stopped?.containersStatuses).toMatchObject([{ id, exitCode: 3, reason: "Error" }]);
    expect(seen.at(-1)?.containersStatuses).toEqual([]);
  });

  test("tell of the end of a container that is removed while it runs, to every listener", async () => {
    const made = await pod("forced");
    const id = await started(made, "long");
    const isLast = (event: ContainerEventResponse) =>
      event.containerId === id && event.containerEventType === CONTAINER_DELETED_EVENT;
    const [first, second] = await Promise.all([
      eventsOf(() => Promise.resolve(), isLast),
      eventsOf(async () => {
        await sleep(300);
        await daemon.runtime.removeContainer({ containerId: id });
      }, isLast),
    ]);
    const types = (events: readonly ContainerEventResponse[]) =>
      events.filter(({ containerId }) => containerId === id).map(event => event.containerEventType);
    expect([types(first), types(second)]).toEqual([
      [CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT],
      [CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT],
    ]);
    await remove(made);
  });
});

describe("streamed lists", () => {
  test("have what the lists have, by the same filters", async () => {
    const made = await pod("streamed", { labels: { app: "streamed" } });
    const id = await container(made, "waits", ["true"], { labels: { tier: "one" } });
    const { runtime, images } = daemon;
    const collect = async <T>(stream: AsyncIterable<T>, items: (message: T) => readonly unknown[]) => {
      const all: unknown[] = [];
      for await (const message of stream) all.push(...items(message));
      return all;
    };
    for (const filter of [
      {},
      { labelSelector: { app: "streamed" } },
      { id: "f".repeat(64) },
      { state: { state: 1 } },
    ])
      expect(
        await collect(runtime.streamPodSandboxes({ filter }), ({ podSandboxes }) => podSandboxes),
      ).toEqual((await runtime.listPodSandbox({ filter })).items);
    for (const filter of [
      {},
      { labelSelector: { tier: "one" } },
      { podSandboxId: made.id },
      { state: { state: 1 } },
      { id },
    ])
      expect(await collect(runtime.streamContainers({ filter }), ({ containers }) => containers)).toEqual(
        (await runtime.listContainers({ filter })).containers,
      );
    for (const image of [daemon.image, "", "registry.invalid/none:1"])
      expect(
        await collect(images.streamImages({ filter: { image: { image } } }), message => message.images),
      ).toEqual((await images.listImages({ filter: { image: { image } } })).images);
    const stats = await collect(
      runtime.streamPodSandboxStats({ filter: { id: made.id } }),
      one => one.podSandboxStats,
    );
    expect(stats).toMatchObject([{ attributes: { id: made.id } }]);
    await remove(made);
  });

  test("stop when the caller has enough, and say what is wrong as a list does", async () => {
    for await (const _ of daemon.runtime.streamPodSandboxes({})) break;
    const stopped = new AbortController();
    stopped.abort();
    const stream = daemon.runtime.streamContainers({}, { signal: stopped.signal });
    await expect(stream[Symbol.asyncIterator]().next()).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("the network's configuration", () => {
  const file = () => join(daemon.root, "net.d/10-ocid-net.conflist");
  const configure = (podCidr: string) =>
    daemon.runtime.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr } } });

  test("is an operator's while there is one, and made of the template when there is none", async () => {
    const own = join(daemon.root, "net.d/10-test.conflist");
    const before = readFileSync(own);
    await configure("10.9.0.0/16");
    expect(readdirSync(join(daemon.root, "net.d"))).toEqual(["10-test.conflist"]);
    try {
      rmSync(own);
      const isReady = async () =>
        (await daemon.runtime.status({})).status?.conditions.find(({ type }) => type === "NetworkReady")
          ?.status;
      expect(await isReady()).toBe(false);
      await configure("");
      expect(await isReady()).toBe(false);
      await configure("10.9.0.0/16,fd00:9::/64");
      expect(await isReady()).toBe(true);
      expect(JSON.parse(readFileSync(file(), "utf8")).plugins[0].ipam).toMatchObject({
        ranges: [[{ subnet: "10.9.0.0/16" }], [{ subnet: "fd00:9::/64" }]],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      });
      await expect(configure("10.9.0.0")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    } finally {
      writeFileSync(own, before);
      rmSync(file(), { force: true });
    }
  });
});

describe("a checkpoint", () => {
  const archive = () => join(daemon.root, "checkpoint.tar");
  const tar = (...args: string[]) => execFileSync("tar", args, { encoding: "utf8" });

  test("is an archive of processes, changed and removed files, configuration and log; the container goes on", async () => {
    writeFileSync(join(daemon.root, "bin/criu"), "#!/bin/sh\nexit 0\n", { mode: 0o755 });
    const made = await pod("kept", {}, "without-criu");
    const annotations = { purpose: "test" };
    const id = await started(made, "worker", { annotations }, ["sh", "-c", "echo said; sleep 1000"]);
    await exec(id, "sh", "-c", "echo kept > /new; rm /bin/seq");
    await daemon.runtime.checkpointContainer({ containerId: id, location: archive(), timeout: 60n });
    expect(statSync(archive()).mode & 0o777).toBe(0o600);
    expect(tar("-tf", archive()).trim().split("\n").sort()).toEqual([
      "bind.mounts",
      "checkpoint/",
      "checkpoint/pages-1.img",
      "config.dump",
      "deleted.files",
      "dump.log",
      "io.kubernetes.cri-o.LogPath",
      "rootfs-diff.tar",
      "spec.dump",
    ]);
    const read = (file: string) => tar("-xOf", archive(), file);
    expect(JSON.parse(read("config.dump"))).toMatchObject({
      id,
      runtime: "without-criu",
      rootfsImage: daemon.image,
    });
    const spec = JSON.parse(read("spec.dump"));
    expect(JSON.parse(spec.annotations["io.kubernetes.cri-o.Annotations"])).toEqual(annotations);
    expect(JSON.parse(read("deleted.files"))).toEqual(["/bin/seq"]);
    expect(
      JSON.parse(read("bind.mounts")).map(({ destination }: { destination: string }) => destination),
    ).toContain("/etc/hosts");
    expect(read("io.kubernetes.cri-o.LogPath")).toContain("said");
    tar("-xf", archive(), "-C", daemon.root, "rootfs-diff.tar");
    const changed = tar("-tf", join(daemon.root, "rootfs-diff.tar")).trim().split("\n");
    expect(changed).toContain("new");
    expect(changed.some(name => name.includes(".wh."))).toBe(false);
    expect(await exec(id, "cat", "/new")).toBe("kept");
    expect(readdirSync(join(daemon.root, "state/records", id))).toEqual(["container.json"]);
    rmSync(join(daemon.root, "bin/criu"));
    await remove(made);
  });

  test("that criu cannot make is refused with what it says, and leaves nothing", async () => {
    const made = await pod("refused", {}, "without-criu");
    const id = await started(made, "worker");
    writeFileSync(
      join(daemon.root, "bin/criu"),
      "#!/bin/sh\necho 'Error (criu/x.c:1): no vDSO' >&2\nexit 1\n",
      {
        mode: 0o755,
      },
    );
    const location = join(daemon.root, "none.tar");
    await expect(daemon.runtime.checkpointContainer({ containerId: id, location })).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("criu check ended with 1: no vDSO"),
    });
    expect(() => statSync(location)).toThrow("ENOENT");
    expect(await exec(id, "echo", "goes on")).toBe("goes on");
    for (const wrong of ["relative.tar", join(daemon.root, "no/such/x.tar"), "/tmp/../etc/x", daemon.root])
      await expect(
        daemon.runtime.checkpointContainer({ containerId: id, location: wrong }),
        wrong,
      ).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const idle = await container(made, "idle", ["true"]);
    await expect(daemon.runtime.checkpointContainer({ containerId: idle, location })).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("only one that runs"),
    });
    await expect(daemon.runtime.checkpointContainer({ containerId: "none", location })).rejects.toMatchObject(
      {
        code: "NOT_FOUND",
      },
    );
    rmSync(join(daemon.root, "bin/criu"));
    await remove(made);
  });
});

describe("the node", () => {
  test("says its handlers with their features, its configuration, its cgroup driver", async () => {
    const { runtimeHandlers, features, info } = await daemon.runtime.status({ verbose: true });
    expect(runtimeHandlers.map(({ name }) => name).sort()).toEqual(["", "runc", "without-criu"]);
    expect(runtimeHandlers.every(handler => handler.features !== undefined)).toBe(true);
    expect(features).toMatchObject({ supplementalGroupsPolicy: true, userNamespacesHostNetwork: true });
    expect(JSON.parse(info["config"]!).network.config_template).toBe(join(daemon.root, "template"));
    expect(JSON.parse(info["version"]!).runtime).toMatchObject({
      name: "runc",
      version: expect.stringMatching(/^\d/),
    });
    expect((await daemon.runtime.status({})).info).toEqual({});
    expect((await daemon.runtime.runtimeConfig({})).linux?.cgroupDriver).toBe(CgroupDriver.CGROUPFS);
    const { imageFilesystems, containerFilesystems } = await daemon.images.imageFsInfo({});
    expect(imageFilesystems[0]?.usedBytes?.value).toBeGreaterThan(0n);
    expect(containerFilesystems[0]?.fsId?.mountpoint).toBe(join(daemon.root, "r"));
  });
});

describe("ocic", () => {
  const ocic = (...args: string[]) => {
    const program = join(import.meta.dirname, "../../../apps/ocic/dist/ocic");
    const result = spawnSync(program, ["--runtime-endpoint", join(daemon.root, "ocid.sock"), ...args], {
      encoding: "utf8",
    });
    return { code: result.status, out: result.stdout, err: result.stderr };
  };

  test("shows use, metrics and the node, as tables and for programs", async () => {
    const made = await pod("shown");
    const id = await started(made, "worker");
    expect(ocic("stats").out).toMatch(
      new RegExp(`^CONTAINER ID +NAME +CPU %[^]*${id.slice(0, 12)} +worker +\\d`),
    );
    expect(JSON.parse(ocic("stats", id, "--json", "--seconds", "0").out)[0].attributes.id).toBe(id);
    expect(ocic("statsp").out).toContain(`${made.id.slice(0, 12)}  shown  e2e`);
    expect(ocic("metrics", made.id.slice(0, 8)).out).toMatch(/container_threads +\d+ +container=worker/);
    expect(ocic("metricdescs").out).toContain("container_cpu_usage_seconds_total");
    expect(ocic("info").out).toMatch(/RuntimeReady +yes/);
    expect(JSON.parse(ocic("info", "--json").out).config.server.listen).toBe(join(daemon.root, "ocid.sock"));
    expect(ocic("update-runtime-config", "no-cidr")).toMatchObject({
      code: 2,
      err: expect.stringContaining("no-cidr"),
    });
    expect(ocic("checkpoint", "none", "--export", "/tmp/none.tar")).toMatchObject({ code: 3 });
    await remove(made);
  });
});
