import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type DockerRegistry, leakCheck, startDockerRegistry, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildDebianPackage } from "../../../scripts/package/debian.ts";
import { eventually, pushBusybox } from "../src/daemon-under-test.ts";

// The first lines of docs/operate/daemon.md on the smallest Debian there is: a directory with mounts, processes and
// a host name of its own, without a service manager. The tests build on each other.
const leaks = leakCheck();
const root = tempRoot("e2e-debian-");
const debian = join(root.path, "debian");
let registry: DockerRegistry;
let image = "";
let daemon: ChildProcess;

/** The first process of that Debian's namespaces; `unshare` is its parent. */
const init = () => readFileSync(`/proc/${daemon.pid}/task/${daemon.pid}/children`, "utf8").trim();
const inside = (...command: string[]) =>
  execFileSync(
    "nsenter",
    ["--target", init(), "--mount", "--pid", "--uts", "--root", "--wdns=/", ...command],
    { encoding: "utf8", env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" } },
  );

beforeAll(async () => {
  mkdirSync(join(root.path, "registry"));
  registry = await startDockerRegistry({ directory: join(root.path, "registry") });
  image = `${registry.host}/test/box:1`;
  await pushBusybox(join(root.path, "rootfs"), image);
});

afterAll(async () => {
  daemon?.kill("SIGKILL");
  await registry[Symbol.asyncDispose]();
  execFileSync("sh", ["-c", "ip link delete ocid0 2>/dev/null || true"]);
  root.remove();
  await leaks.expectClean();
});

test("the package installs with nothing but what it names", { timeout: 600_000 }, async () => {
  const path = await buildDebianPackage(root.path, { compression: "none" });
  const { VERSION_CODENAME } = Object.fromEntries(
    readFileSync("/etc/os-release", "utf8")
      .split("\n")
      .map(line => line.split("=")),
  );
  const install = `chroot "$1" apt-get install --yes --no-install-recommends /${basename(path)}`;
  execFileSync(
    "mmdebstrap",
    [
      ...["--quiet", "--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io"],
      ...[`--customize-hook=copy-in ${path} /`, `--customize-hook=${install}`],
      ...[VERSION_CODENAME!, debian],
    ],
    { stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } },
  );
  expect(execFileSync("chroot", [debian, "dpkg", "--status", "ocid"], { encoding: "utf8" })).toContain(
    "Status: install ok installed\n",
  );
  const networks = join(debian, "etc/cni/net.d");
  mkdirSync(networks, { recursive: true });
  const example = "10-ocid-bridge.conflist";
  copyFileSync(join(debian, "usr/share/doc/ocid/examples", example), join(networks, example));
  mkdirSync(join(debian, "etc/containers/registries.conf.d"), { recursive: true });
  writeFileSync(
    join(debian, "etc/containers/registries.conf.d/test.conf"),
    `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`,
  );
});

test("the unit's command, run by hand, becomes ready", async () => {
  const command = /^ExecStart=(.+)/m.exec(
    readFileSync(join(debian, "lib/systemd/system/ocid.service"), "utf8"),
  )![1]!;
  const mounts = [
    "mount -t proc proc /proc",
    "mount -t sysfs -o ro sysfs /sys",
    "mount -t tmpfs -o mode=755 tmpfs /run",
    "mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup",
  ];
  const script = `set -e; ${mounts.join("; ")}; mount --rbind /mnt /sys/fs/cgroup; hostname bare; exec ${command}`;
  daemon = spawn(
    "unshare",
    [
      ...["--mount", "--pid", "--uts", "--fork", "--kill-child", "--propagation", "private"],
      ...[
        "sh",
        "-c",
        'mount --bind "$1" "$1"; mount --rbind /dev "$1/dev"; mount --rbind /sys/fs/cgroup "$1/mnt"; exec chroot "$1" sh -c "$2"',
      ],
      ...["-", debian, script],
    ],
    { stdio: ["ignore", "ignore", "inherit"], env: { PATH: process.env["PATH"] } },
  );
  await eventually("the runtime and the network are ready", () => {
    try {
      const { conditions } = JSON.parse(inside("ocic", "info", "--json"));
      return conditions.every((condition: { readonly status: boolean }) => condition.status);
    } catch {
      return false;
    }
  });
});

test("a pod runs there, and leaves nothing", () => {
  expect(inside("ocic", "run", "--rm", image, "echo", "a pod runs here")).toBe("a pod runs here\n");
  expect(JSON.parse(inside("ocic", "ps", "--all", "--json"))).toEqual([]);
  inside("ocic", "rmi", image);
});
