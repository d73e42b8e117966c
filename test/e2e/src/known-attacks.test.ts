import { execFileSync } from "node:child_process";
import {
  cpSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { NamespaceMode } from "@ocid/cri-api";
import { copyImage, createRegistryDestination, importImage } from "@ocid/image-copy";
import { createRegistryClient } from "@ocid/registry";
import { type ImageExecution, parseReference } from "@ocid/spec";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions, type TestPod } from "./pod-actions.ts";

// Published attacks on container engines, run against this one; docs/security/known-attacks.md says which is which.

let daemon: DaemonUnderTest;
let outside: string;
let shared: TestPod;
const { pod, container, started, exec, remove, status } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
  outside = join(daemon.root, "outside");
  mkdirSync(outside, { mode: 0o755 });
  writeFileSync(join(outside, "passwd"), "intruder:x:0:0::/:/bin/sh\n");
  shared = await pod("shared");
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

/** Pulls an image of the test's root file system with changes to it; `/outside` in it is no path of the node. */
async function hostileImage(
  name: string,
  change: (rootfs: string) => void,
  config: ImageExecution = {},
): Promise<string> {
  const directory = join(daemon.root, `rootfs-${name}`);
  cpSync(join(daemon.root, "rootfs"), directory, { recursive: true, verbatimSymlinks: true });
  change(directory);
  const reference = `${daemon.registry}/test/${name}:1`;
  await using client = createRegistryClient({ tlsVerify: false });
  await using source = await importImage(directory, { config: { Env: ["PATH=/bin"], ...config } });
  await copyImage(source, createRegistryDestination(client, parseReference(reference)));
  await daemon.images.pullImage({ image: { image: reference } });
  return reference;
}

const up = "../../../../../../../../../../..";
const secured = (securityContext: object) => ({ linux: { securityContext } });

/** A link over what the root file system has at a path. */
function link(rootfs: string, path: string, target: string): void {
  rmSync(join(rootfs, path), { recursive: true, force: true });
  symlinkSync(target, join(rootfs, path));
}

/** Makes a container and starts it; undefined where that is refused, which is as good. */
async function startedOrRefused(name: string, more: object): Promise<string | undefined> {
  try {
    return await started(shared, name, more);
  } catch {
    return undefined;
  }
}

describe("an image's users", () => {
  test("a user whose name is a number does not lend that number its id", async () => {
    const passwd = "root:x:0:0::/:/bin/sh\n1000:x:0:0::/:/bin/sh\n";
    const image = await hostileImage(
      "numbered",
      rootfs => {
        writeFileSync(join(rootfs, "etc/passwd"), passwd);
        writeFileSync(join(rootfs, "etc/group"), "1000:x:0:\n");
      },
      { User: "1000:1000" },
    );
    const byImage = await started(shared, "numbered-image", { image: { image } });
    const asked = { runAsUser: { value: 1000n }, runAsGroup: { value: 1000n } };
    const byPod = await started(shared, "numbered-pod", { image: { image }, ...secured(asked) });
    for (const id of [byImage, byPod]) expect(await exec(id, "id")).toMatch(/^uid=1000.* gid=1000/);
  });

  test("a number that is no id does not keep the node's images from being listed", async () => {
    const image = await hostileImage("endless-id", () => {}, { User: "9".repeat(40) });
    const { images } = await daemon.images.listImages({});
    expect(images.map(({ repoTags }) => repoTags[0])).toContain(image);
    await expect(container(shared, "endless-id", ["true"], { image: { image } })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  test.each<[string, (rootfs: string) => void]>([
    ["absolute", rootfs => link(rootfs, "etc/passwd", join(outside, "passwd"))],
    ["climbing", rootfs => link(rootfs, "etc/passwd", `${up}${join(outside, "passwd")}`)],
    ["directory", rootfs => link(rootfs, "etc", outside)],
    ["magic", rootfs => link(rootfs, "etc/passwd", `/proc/1/root${outside}/passwd`)],
    [
      "fifo",
      rootfs => {
        rmSync(join(rootfs, "etc/passwd"));
        execFileSync("mkfifo", [join(rootfs, "etc/passwd")]);
      },
    ],
    [
      "device",
      rootfs => {
        rmSync(join(rootfs, "etc/passwd"));
        execFileSync("mknod", [join(rootfs, "etc/passwd"), "c", "1", "5"]);
      },
    ],
    [
      "huge",
      rootfs =>
        writeFileSync(join(rootfs, "etc/passwd"), `${"#\n".repeat(1 << 20)}intruder:x:0:0::/:/bin/sh\n`),
    ],
  ])("an /etc/passwd that is not one of the image (%s) is not read", async (kind, change) => {
    const image = await hostileImage(`passwd-${kind}`, change);
    await expect(
      container(shared, `passwd-${kind}`, ["true"], {
        image: { image },
        ...secured({ runAsUsername: "intruder" }),
      }),
    ).rejects.toMatchObject({ code: expect.stringMatching(/FAILED_PRECONDITION|RESOURCE_EXHAUSTED/) });
  });
});

describe("an image's paths", () => {
  test("links under the files that every pod has do not lead out", async () => {
    const links = ["etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"];
    const image = await hostileImage("links", rootfs => {
      for (const path of links) link(rootfs, path, `${up}${outside}/${path.replace("/", "-")}`);
    });
    await startedOrRefused("links", { image: { image } });
    const directory = await hostileImage("linked-etc", rootfs => link(rootfs, "etc", `${up}${outside}`));
    await startedOrRefused("linked-etc", { image: { image: directory } });
    expect(readdirSync(outside)).toEqual(["passwd"]);
  });

  test("volumes through links, upwards or over /proc neither leave the container nor bring the node in", async () => {
    const image = await hostileImage("volumes", rootfs => link(rootfs, "link", `${up}${outside}`), {
      Volumes: { "/link/volume": {}, [`/a/${up}${outside}/climbed`]: {}, "/link": {} },
    });
    const id = await startedOrRefused("volumes", { image: { image } });
    if (id) expect(await exec(id, "find", "/link", "-name", "passwd")).toBe("");
    expect(readdirSync(outside)).toEqual(["passwd"]);
  });

  test("volumes over /proc, /sys and /dev do not hide what protects the node", async () => {
    const kernel = ["/proc", "/proc/self/attr", "/x/../proc/sys", "/sys", "/sys/fs/cgroup", "/dev"];
    const image = await hostileImage("kernel-volumes", () => {}, {
      Volumes: Object.fromEntries(kernel.map(path => [path, {}])),
    });
    const id = await started(shared, "kernel-volumes", { image: { image } });
    expect(await exec(id, "stat", "-f", "-c", "%T", "/proc", "/proc/self/attr", "/proc/sys", "/sys")).toBe(
      "proc\nproc\nproc\nsysfs",
    );
    const linked = await hostileImage("kernel-links", rootfs => link(rootfs, "link", "/proc"), {
      Volumes: { "/link": {} },
    });
    const other = await startedOrRefused("kernel-links", { image: { image: linked } });
    if (other) expect(await exec(other, "stat", "-f", "-c", "%T", "/proc")).toBe("proc");
  });

  test("no working directory is a directory of the node", async () => {
    const nodeRoot = readdirSync("/").includes("opt") ? "opt" : "boot";
    const directories = Array.from({ length: 9 }, (_, at) => `/proc/self/fd/${at + 3}`);
    const linked = await hostileImage("cwd-link", rootfs => link(rootfs, "cwd", "/proc/self/fd/7"), {
      WorkingDir: "/cwd",
    });
    const asked = [
      ...directories.map(workingDir => ({ workingDir })),
      ...["/proc/self/cwd", "/proc/1/root", "/proc/self/fd/7/../../../.."].map(workingDir => ({
        workingDir,
      })),
      { image: { image: linked } },
    ];
    for (const [at, more] of asked.entries()) {
      const id = await startedOrRefused(`cwd-${at}`, more);
      if (id === undefined) continue;
      expect(await exec(id, "sh", "-c", "cd .; ls -a . ./../../../..")).not.toContain(nodeRoot);
    }
  });

  test("a device of an image's layer cannot be opened", async () => {
    const image = await hostileImage("device-node", rootfs =>
      execFileSync("mknod", ["-m", "666", join(rootfs, "disk"), "b", "7", "0"]),
    );
    const id = await started(shared, "device-node", { image: { image } });
    await expect(exec(id, "head", "-c", "1", "/disk")).rejects.toThrow(/not permitted/);
  });
});

describe("a container's environment", () => {
  test("a HOME with line breaks writes no user into /etc/passwd", async () => {
    const value = "/tmp\nintruder::0:0::/:/bin/sh";
    const image = await hostileImage("home", () => {}, { Env: ["PATH=/bin", `HOME=${value}`] });
    const id = await started(shared, "home", {
      image: { image },
      envs: [{ key: "HOME", value: Buffer.from(value) }],
    });
    expect(await exec(id, "cat", "/etc/passwd")).not.toContain("intruder");
    expect(await exec(id, "sh", "-c", 'echo "$HOME" | wc -l')).toBe("2");
  });

  test("is not that of another container of the same image, nor the daemon's", async () => {
    const envs = [{ key: "SECRET", value: Buffer.from("mine") }];
    await started(shared, "with-secret", { envs });
    const id = await started(shared, "without-secret");
    const names = (await exec(id, "env")).split("\n").map(line => line.split("=")[0]);
    expect(names.sort()).toEqual(
      ["HOME", "HOSTNAME", "PATH", "PWD", "SHLVL"].filter(name => names.includes(name)),
    );
  });
});

describe("a container's process", () => {
  test("has no descriptor but its own three, and no inheritable capability, a command in it neither", async () => {
    const id = await started(shared, "bare");
    // The fourth is what ls reads the directory with.
    expect(await exec(id, "ls", "/proc/self/fd")).toBe("0\n1\n2\n3");
    expect(await exec(id, "ls", "/proc/1/fd")).toBe("0\n1\n2");
    for (const of of ["1", "self"])
      expect(await exec(id, "grep", "CapInh", `/proc/${of}/status`)).toMatch(/\t0{16}$/);
  });

  test("on the node's network finds no abstract socket of the engine", async () => {
    const p = await pod("abstract", {
      linux: {
        securityContext: {
          namespaceOptions: { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER },
        },
      },
    });
    const id = await started(p, "c", { stdin: true, tty: true });
    const sockets = (await exec(id, "cat", "/proc/net/unix")).split("\n");
    expect(sockets.length).toBeGreaterThan(1);
    expect(sockets.filter(line => line.includes(" @"))).toEqual([]);
    await remove(p);
  });

  test("a command that writes without end fills no memory", async () => {
    const id = await started(shared, "endless");
    await daemon.runtime.execSync({ containerId: id, cmd: ["true"] });
    const before = daemon.memoryMiB();
    const { stdout } = await daemon.runtime.execSync({
      containerId: id,
      cmd: ["head", "-c", "256000000", "/dev/zero"],
    });
    expect(stdout.byteLength).toBeLessThanOrEqual(16 * 1024 * 1024);
    expect(daemon.memoryMiB() - before).toBeLessThan(150);
  });
});

describe("a pod's request", () => {
  const namespaces = (options: object) => ({ linux: { securityContext: { namespaceOptions: options } } });

  test.each<[string, object]>([
    ["a name that climbs", { metadata: { name: "../x", namespace: "e2e", uid: "u", attempt: 0 } }],
    ["a uid that is a path", { metadata: { name: "x", namespace: "e2e", uid: "../../etc", attempt: 0 } }],
    [
      "a name with arguments of plugins",
      { metadata: { name: "x;IP=10.0.0.1", namespace: "e2e", uid: "u", attempt: 0 } },
    ],
    ["a name with a line break", { metadata: { name: "x\ny", namespace: "e2e", uid: "u", attempt: 0 } }],
    ["logs that climb", { logDirectory: "/var/log/pods/../../../etc" }],
    ["logs that the monitor would cut", { logDirectory: "/tmp/a:b" }],
    ["logs at a relative place", { logDirectory: "etc" }],
    ["a host name with a line break", { hostname: "x\n10.0.0.1 registry" }],
    ["a name server with a line break", { dnsConfig: { servers: ["10.0.0.1\nnameserver 10.0.0.2"] } }],
    ["a port beyond the last", { portMappings: [{ containerPort: 80, hostPort: 65_536 }] }],
    ["a negative port", { portMappings: [{ containerPort: -1, hostPort: 80 }] }],
    ["a port at a host name", { portMappings: [{ containerPort: 80, hostPort: 80, hostIp: "-j ACCEPT" }] }],
    ["a cgroup that climbs", { linux: { cgroupParent: "/kubepods/../../system" } }],
    ["a cgroup with options", { linux: { cgroupParent: "/a b" } }],
    ["the node's core pattern", { linux: { sysctls: { "kernel.core_pattern": "|/bin/sh" } } }],
    [
      "the node's core pattern after a plus",
      { linux: { sysctls: { "kernel.shm_rmid_forced": "1+kernel.core_pattern=|/bin/sh" } } },
    ],
    [
      "the node's core pattern after a line break",
      { linux: { sysctls: { "net.ipv4.ip_forward": "1\nkernel.core_pattern=x" } } },
    ],
    [
      "the node's core pattern by a climbing name",
      { linux: { sysctls: { "net/../kernel/core_pattern": "|/bin/sh" } } },
    ],
    [
      "a sysctl of the node's network",
      {
        linux: {
          sysctls: { "net.ipv4.ip_forward": "1" },
          ...namespaces({ network: NamespaceMode.NODE }).linux,
        },
      },
    ],
    [
      "a sysctl of the node's ipc",
      { linux: { sysctls: { "kernel.msgmax": "1" }, ...namespaces({ ipc: NamespaceMode.NODE }).linux } },
    ],
    [
      "the node's root as the pod's",
      {
        linux: namespaces({
          usernsOptions: {
            mode: NamespaceMode.POD,
            uids: [{ hostId: 0, containerId: 0, length: 65536 }],
            gids: [{ hostId: 65536, containerId: 0, length: 65536 }],
          },
        }).linux,
      },
    ],
    [
      "ids beyond the last",
      {
        linux: namespaces({
          usernsOptions: {
            mode: NamespaceMode.POD,
            uids: [{ hostId: 4294901760, containerId: 0, length: 131072 }],
            gids: [{ hostId: 65536, containerId: 0, length: 65536 }],
          },
        }).linux,
      },
    ],
  ])("for %s is refused, and leaves nothing", async (_what, more) => {
    const pattern = readFileSync("/proc/sys/kernel/core_pattern", "utf8");
    await expect(pod("refused", more)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(readFileSync("/proc/sys/kernel/core_pattern", "utf8")).toBe(pattern);
    expect((await daemon.runtime.listPodSandbox({})).items.map(({ id }) => id)).toEqual([shared.id]);
  });

  test.each<[string, object]>([
    ["a log that climbs", { logPath: "../../../../etc/cron.d/x" }],
    ["a log at an absolute place", { logPath: "/etc/cron.d/x" }],
    ["a log that the monitor would cut", { logPath: "a:b.log" }],
    ["a name that climbs", { metadata: { name: "../x", attempt: 0 } }],
    ["a user beyond the last", secured({ runAsUser: { value: 2n ** 32n } })],
    ["a user that wraps to root", secured({ runAsUser: { value: 2n ** 32n - 1n } })],
    ["a group beyond the last", secured({ runAsUser: { value: 1n }, runAsGroup: { value: 2n ** 32n } })],
    ["a group among others beyond the last", secured({ supplementalGroups: [2n ** 32n] })],
    ["a mount over everything", { mounts: [{ containerPath: "/x/..", hostPath: "/tmp" }] }],
    ["a mount of a relative path", { mounts: [{ containerPath: "/x", hostPath: "../etc" }] }],
    ["a variable that carries another", { envs: [{ key: "A=B\nC", value: Buffer.from("x") }] }],
    ["a cgroup file by path", { linux: { resources: { unified: { "../../cgroup.procs": "1" } } } }],
    ["more privilege than its pod", secured({ privileged: true })],
  ])("for a container with %s is refused, and leaves nothing", async (_what, more) => {
    const before = (await daemon.runtime.listContainers({})).containers.length;
    await expect(container(shared, "refused", ["true"], more)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    expect((await daemon.runtime.listContainers({})).containers).toHaveLength(before);
  });

  test("annotations that mean something to runtimes do not reach them", async () => {
    const annotations = {
      "org.systemd.property.ExecStartPre": "'/bin/sh'",
      "org.systemd.property.RootDirectory": "'/'",
      "run.oci.handler": "krun",
      "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel": "true",
      "x\ny": "z",
    };
    const p = await pod("annotated", { annotations });
    const id = await started(p, "c", { annotations });
    const [config] = globSync(join(daemon.root, "state/**/", id, "bundle/config.json"));
    const told = Object.keys(JSON.parse(readFileSync(config!, "utf8")).annotations);
    expect(told.sort()).toEqual(["io.kubernetes.cri.container-name", "io.kubernetes.cri.sandbox-name"]);
    expect((await status(id)).annotations).toEqual(annotations);
    await remove(p);
  });
});
