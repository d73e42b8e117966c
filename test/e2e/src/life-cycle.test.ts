import { existsSync, readFileSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { ContainerState, NamespaceMode, PodSandboxState } from "@ocid/cri-api";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";

let daemon: DaemonUnderTest;

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

/** What a test that failed has left is not the next one's. */
afterEach(async () => {
  const { items } = await daemon.runtime.listPodSandbox({});
  for (const { id } of items) await daemon.runtime.removePodSandbox({ podSandboxId: id });
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

async function pod(name: string, more: object = {}) {
  const config = daemon.sandboxConfig(name, more);
  const { podSandboxId } = await daemon.runtime.runPodSandbox({ config });
  return { id: podSandboxId, config };
}

async function container(
  in_: { id: string; config: object },
  name: string,
  command: string[],
  more: object = {},
) {
  const { containerId } = await daemon.runtime.createContainer({
    podSandboxId: in_.id,
    sandboxConfig: in_.config,
    config: {
      metadata: { name, attempt: 0 },
      image: { image: daemon.image },
      command,
      logPath: `${name}.log`,
      linux: {},
      ...more,
    },
  });
  return containerId;
}

async function started(
  in_: { id: string; config: object },
  name: string,
  command: string[],
  more: object = {},
) {
  const id = await container(in_, name, command, more);
  await daemon.runtime.startContainer({ containerId: id });
  return id;
}

async function exec(id: string, ...cmd: string[]): Promise<string> {
  const { stdout, stderr, exitCode } = await daemon.runtime.execSync({ containerId: id, cmd });
  if (exitCode !== 0) throw new Error(`exit ${exitCode}: ${Buffer.from(stderr)}`);
  return Buffer.from(stdout).toString().trim();
}

const statusOf = async (id: string) => (await daemon.runtime.containerStatus({ containerId: id })).status!;

describe("the daemon", () => {
  test("says who it is and that it is ready", async () => {
    expect(await daemon.runtime.version({})).toMatchObject({ runtimeName: "ocid", runtimeApiVersion: "v1" });
    const { status } = await daemon.runtime.status({ verbose: true });
    expect(status?.conditions.map(condition => [condition.type, condition.status])).toEqual([
      ["RuntimeReady", true],
      ["NetworkReady", true],
    ]);
    expect(statSync(join(daemon.root, "ocid.sock")).mode & 0o777).toBe(0o600);
  });

  test("refuses a second one on its socket", async () => {
    const { spawnSync } = await import("node:child_process");
    const program = join(import.meta.dirname, "../../../apps/ocid/dist/ocid");
    const second = spawnSync(
      program,
      [
        "--root",
        join(daemon.root, "r2"),
        "--runroot",
        join(daemon.root, "rr2"),
        "--state-dir",
        join(daemon.root, "state2"),
        "--listen",
        join(daemon.root, "ocid.sock"),
      ],
      { encoding: "utf8" },
    );
    expect(second.status).toBe(1);
    expect(second.stderr).toMatch(/another daemon listens on/);
  });
});

describe("images", () => {
  test("are listed, found by every name, and kept once", async () => {
    const { images } = await daemon.images.listImages({});
    expect(images).toHaveLength(1);
    const [image] = images;
    expect(image!.repoTags).toEqual([daemon.image]);
    expect(image!.repoDigests).toEqual([expect.stringMatching(/@sha256:[0-9a-f]{64}$/)]);
    for (const name of [image!.id, image!.id.slice(7, 27), daemon.image, image!.repoDigests[0]!])
      expect((await daemon.images.imageStatus({ image: { image: name } })).image?.id).toBe(image!.id);
    expect((await daemon.images.pullImage({ image: { image: daemon.image } })).imageRef).toBe(image!.id);
    expect((await daemon.images.imageFsInfo({})).imageFilesystems[0]?.usedBytes?.value).toBeGreaterThan(
      1_000_000n,
    );
  });

  test("podman lists and runs what was pulled, and what podman makes is listed here", () => {
    const limits = ["--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    expect(daemon.podman("run", "--rm", ...limits, daemon.image, "echo", "runs")).toBe("runs\n");
    daemon.podman("tag", daemon.image, "localhost/by-podman:1");
    return expect(
      daemon.images.imageStatus({ image: { image: "localhost/by-podman:1" } }),
    ).resolves.toMatchObject({ image: { repoTags: expect.arrayContaining(["localhost/by-podman:1"]) } });
  });

  test.each([
    ["an unknown tag", () => `${daemon.registry}/test/box:none`, "NOT_FOUND", /none/],
    ["an unknown registry", () => "127.0.0.1:1/x:1", "UNAVAILABLE", /127\.0\.0\.1:1/],
    ["a name that is none", () => "registry.test/UPPER/case", "INVALID_ARGUMENT", /UPPER/],
    ["no name", () => "", "INVALID_ARGUMENT", /names no image/],
  ])("%s is a clear error", async (_, name, code, message) => {
    await expect(daemon.images.pullImage({ image: { image: name() } })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });
});

describe("a pod", () => {
  test("has an address, a host name and files of its own, and shares them among its containers", async () => {
    const p = await pod("shared", {
      hostname: "box",
      dnsConfig: { servers: ["10.0.0.10"], searches: ["svc.test"], options: ["ndots:5"] },
    });
    const a = await started(p, "a", ["sh", "-c", "httpd -p 80 -h /www; sleep 1000"]);
    const b = await started(p, "b", ["sleep", "1000"]);
    const { status } = await daemon.runtime.podSandboxStatus({ podSandboxId: p.id });
    expect(status?.network?.ip).toContain(`${daemon.addresses}.`);
    expect(await exec(b, "hostname")).toBe("box");
    expect(await exec(b, "cat", "/etc/resolv.conf")).toBe(
      "search svc.test\nnameserver 10.0.0.10\noptions ndots:5",
    );
    expect(await exec(b, "cat", "/etc/hosts")).toContain(`${status!.network!.ip}\tbox`);
    expect(await exec(b, "wget", "-qO-", "http://127.0.0.1/")).toBe("hello from ocid");
    expect(await fetch(`http://${status!.network!.ip}/`).then(answer => answer.text())).toBe(
      "hello from ocid\n",
    );
    expect(await exec(a, "ps")).toContain("httpd");
    expect(await exec(b, "ps")).not.toContain("httpd");
    await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
    expect((await daemon.runtime.listPodSandbox({})).items).toEqual([]);
  });

  test("with a shared pid namespace has a process that holds it", async () => {
    const p = await pod("pids", {
      linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } },
    });
    const a = await started(p, "a", ["sleep", "4242"]);
    const b = await started(p, "b", ["sleep", "1000"]);
    expect(await exec(b, "ps")).toMatch(/1 .*\/pause[\s\S]*sleep 4242/);
    await daemon.runtime.removeContainer({ containerId: a });
    await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
  });

  test("on the node's network has no namespace of its own for it", async () => {
    const p = await pod("hostnet", {
      linux: {
        securityContext: { namespaceOptions: { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER } },
      },
    });
    const c = await started(p, "c", ["sleep", "1000"]);
    expect(await exec(c, "readlink", "/proc/self/ns/net")).toBe(
      (await import("node:fs")).readlinkSync("/proc/self/ns/net"),
    );
    await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
  });

  test("has its sysctls set, and only its own ones", async () => {
    const security = { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } } };
    const p = await pod("sysctl", {
      linux: { ...security, sysctls: { "net.ipv4.ip_default_ttl": "77", "kernel.msgmax": "4242" } },
    });
    const c = await started(p, "c", ["sleep", "1000"]);
    expect(await exec(c, "cat", "/proc/sys/net/ipv4/ip_default_ttl", "/proc/sys/kernel/msgmax")).toBe(
      "77\n4242",
    );
    await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
    await expect(
      pod("sysctl2", { linux: { ...security, sysctls: { "kernel.panic": "1" } } }),
    ).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining("kernel.panic") });
    expect((await daemon.runtime.listPodSandbox({})).items).toEqual([]);
  });

  test("a name is given once", async () => {
    const p = await pod("once");
    await expect(pod("once")).rejects.toMatchObject({
      code: "ALREADY_EXISTS",
      message: expect.stringContaining("once"),
    });
    await daemon.runtime.stopPodSandbox({ podSandboxId: p.id });
    await daemon.runtime.stopPodSandbox({ podSandboxId: p.id });
    expect((await daemon.runtime.podSandboxStatus({ podSandboxId: p.id })).status?.state).toBe(
      PodSandboxState.SANDBOX_NOTREADY,
    );
    await expect(container(p, "late", ["true"])).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
    await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
  });

  test("that no plugin gives a network leaves nothing", async () => {
    const path = join(daemon.root, "net.d/10-test.conflist");
    renameSync(path, `${path}.away`);
    try {
      await expect(pod("nonet")).rejects.toMatchObject({
        code: "UNAVAILABLE",
        message: expect.stringContaining("no network configuration"),
      });
      expect((await daemon.runtime.status({})).status?.conditions[1]).toMatchObject({
        type: "NetworkReady",
        status: false,
      });
    } finally {
      renameSync(`${path}.away`, path);
    }
    expect((await daemon.runtime.listPodSandbox({})).items).toEqual([]);
  });
});

describe("a container", () => {
  test("goes through its life and tells of it", async () => {
    const p = await pod("life");
    const events: string[] = [];
    const watching = new AbortController();
    const watched = (async () => {
      for await (const event of daemon.runtime.getContainerEvents({}, { signal: watching.signal }))
        events.push(`${event.containerEventType}`);
    })().catch(() => {});
    const c = await container(p, "c", ["sh", "-c", "echo out; echo err >&2; exit 3"], {
      labels: { app: "life" },
    });
    expect((await statusOf(c)).state).toBe(ContainerState.CONTAINER_CREATED);
    await daemon.runtime.startContainer({ containerId: c });
    await eventually("exit", async () => (await statusOf(c)).state === ContainerState.CONTAINER_EXITED);
    const status = await statusOf(c);
    expect(status).toMatchObject({
      exitCode: 3,
      reason: "Error",
      logPath: join(daemon.root, "logs/life/c.log"),
    });
    expect(status.finishedAt).toBeGreaterThanOrEqual(status.startedAt);
    expect(readFileSync(status.logPath, "utf8")).toMatch(/^\S+ stdout F out$/m);
    expect(
      (await daemon.runtime.listContainers({ filter: { labelSelector: { app: "life" } } })).containers,
    ).toHaveLength(1);
    expect(
      (
        await daemon.runtime.listContainers({
          filter: { state: { state: ContainerState.CONTAINER_RUNNING }, podSandboxId: p.id },
        })
      ).containers,
    ).toEqual([]);
    await daemon.runtime.removeContainer({ containerId: c });
    await daemon.runtime.removeContainer({ containerId: c });
    await eventually("four events", () => events.length === 4);
    expect(events).toEqual(["0", "1", "2", "3"]);
    watching.abort();
    await watched;
    await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
  });

  test("is limited, measured, and killed when it takes too much memory", async () => {
    const p = await pod("limits");
    const c = await started(p, "c", ["sleep", "1000"], {
      linux: {
        resources: {
          memoryLimitInBytes: 64n * 1024n * 1024n,
          cpuShares: 512n,
          oomScoreAdj: -999n,
          hugepageLimits: [{ pageSize: "2MB", limit: 0n }],
        },
      },
    });
    const { stats } = await daemon.runtime.containerStats({ containerId: c });
    expect(stats?.memory?.workingSetBytes?.value).toBeGreaterThan(0n);
    expect(stats?.memory?.availableBytes?.value).toBeLessThanOrEqual(64n * 1024n * 1024n);
    expect(
      (await daemon.runtime.podSandboxStats({ podSandboxId: p.id })).stats?.linux?.network?.defaultInterface
        ?.name,
    ).toBe("eth0");
    await daemon.runtime.updateContainerResources({
      containerId: c,
      linux: { memoryLimitInBytes: 128n * 1024n * 1024n },
    });
    expect((await statusOf(c)).resources?.linux?.memoryLimitInBytes).toBe(128n * 1024n * 1024n);
    const hungry = await started(p, "hungry", ["sh", "-c", "tail -c 200m /dev/zero"], {
      linux: { resources: { memoryLimitInBytes: 16n * 1024n * 1024n } },
    });
    await eventually(
      "the end of what is too hungry",
      async () => (await statusOf(hungry)).state === ContainerState.CONTAINER_EXITED,
    );
    expect(await statusOf(hungry)).toMatchObject({ reason: "OOMKilled", exitCode: 137 });
    await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
  });

  test("runs as whom it should, with what it should", async () => {
    const p = await pod("who");
    const as = async (name: string, securityContext: object, ...cmd: string[]) =>
      exec(await started(p, name, ["sleep", "1000"], { linux: { securityContext } }), ...cmd);
    expect(await as("guest", { runAsUsername: "guest" }, "id")).toBe(
      "uid=1000(guest) gid=1000(guest) groups=1000(guest),2000(extra)",
    );
    expect(await as("number", { runAsUser: { value: 1234n }, supplementalGroups: [7n] }, "id")).toBe(
      "uid=1234 gid=0(root) groups=0(root),7",
    );
    expect(
      await as(
        "drop",
        { capabilities: { dropCapabilities: ["ALL"], addCapabilities: ["NET_BIND_SERVICE"] } },
        "grep",
        "CapEff",
        "/proc/self/status",
      ),
    ).toMatch(/0000000000000400$/);
    expect(
      await as(
        "nnp",
        { noNewPrivs: true, seccomp: { profileType: 0 } },
        "grep",
        "-E",
        "NoNewPrivs|^Seccomp:",
        "/proc/self/status",
      ),
    ).toBe("NoNewPrivs:\t1\nSeccomp:\t2");
    expect(await as("ro", { readonlyRootfs: true }, "sh", "-c", "touch /x 2>&1 || true")).toContain(
      "Read-only file system",
    );
    await expect(as("nobody", { runAsUsername: "nobody-here" }, "true")).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("nobody-here"),
    });
    await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
  });

  test("sees volumes, read-only where asked, and images as volumes", async () => {
    const p = await pod("volumes");
    const host = join(daemon.root, "volume");
    const c = await started(p, "c", ["sleep", "1000"], {
      mounts: [
        { containerPath: "/rw", hostPath: host },
        { containerPath: "/ro", hostPath: host, readonly: true },
        { containerPath: "/img", image: { image: daemon.image }, readonly: true, imageSubPath: "etc" },
      ],
    });
    await exec(c, "sh", "-c", "echo x > /rw/file");
    expect(readFileSync(join(host, "file"), "utf8")).toBe("x\n");
    expect(await exec(c, "sh", "-c", "cat /ro/file; touch /ro/y 2>&1 || true")).toMatch(/^x\n.*Read-only/s);
    expect(await exec(c, "sh", "-c", "head -1 /img/passwd; touch /img/y 2>&1 || true")).toMatch(
      /^root:.*Read-only/s,
    );
    await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
  });

  test("takes commands with time limits, and rotates its log", async () => {
    const p = await pod("exec");
    const c = await started(p, "c", ["sh", "-c", "while :; do echo tick; sleep 0.05; done"]);
    const { exitCode, stdout, stderr } = await daemon.runtime.execSync({
      containerId: c,
      cmd: ["sh", "-c", "echo a; echo b >&2; exit 4"],
    });
    expect([exitCode, Buffer.from(stdout).toString(), Buffer.from(stderr).toString()]).toEqual([
      4,
      "a\n",
      "b\n",
    ]);
    await expect(
      daemon.runtime.execSync({ containerId: c, cmd: ["sleep", "100"], timeout: 1n }),
    ).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await expect(daemon.runtime.execSync({ containerId: c, cmd: ["/no/such"] })).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining("/no/such"),
    });
    const log = (await statusOf(c)).logPath;
    renameSync(log, `${log}.1`);
    await daemon.runtime.reopenContainerLog({ containerId: c });
    expect(existsSync(log)).toBe(true);
    await eventually("ticks in the new log", () => readFileSync(log, "utf8").includes("tick"));
    await daemon.runtime.stopContainer({ containerId: c, timeout: 0n });
    await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
  });

  test.each([
    ["an image that is not here", { image: { image: "localhost/none:1" } }, "NOT_FOUND", /localhost\/none:1/],
    [
      "a command that is not there",
      { command: ["/no/such/program"] },
      "FAILED_PRECONDITION",
      /\/no\/such\/program/,
    ],
    ["a log outside of its place", { logPath: "../../../etc/cron.d/x" }, "INVALID_ARGUMENT", /log path/],
    [
      "privileges that its pod has not",
      { linux: { securityContext: { privileged: true } } },
      "INVALID_ARGUMENT",
      /privileged/,
    ],
    [
      "a relative volume",
      { mounts: [{ containerPath: "x", hostPath: "/tmp" }] },
      "INVALID_ARGUMENT",
      /absolute/,
    ],
    [
      "an owner out of range",
      { linux: { securityContext: { runAsUser: { value: 4294967296n } } } },
      "INVALID_ARGUMENT",
      /out of range/,
    ],
    [
      "a device that is not there",
      { devices: [{ hostPath: "/dev/none", containerPath: "/dev/none" }] },
      "NOT_FOUND",
      /\/dev\/none/,
    ],
  ])("with %s is refused and leaves nothing", async (_, more, code, message) => {
    const p = await pod("refused");
    await expect(container(p, "c", ["true"], more)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect((await daemon.runtime.listContainers({})).containers).toEqual([]);
    await daemon.runtime.removePodSandbox({ podSandboxId: p.id });
  });
});
