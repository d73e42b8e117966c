import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ContainerState, createImageClient, createRuntimeClient } from "@ocid/cri-api";
import { type DockerRegistry, startDockerRegistry, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually, pushBusybox } from "../src/daemon-under-test.ts";

// The package as it is installed on a node, and its unit under the real service manager. The tests build on each other.
const repository = join(import.meta.dirname, "../../..");
const socket = "/run/ocid/ocid.sock";
const runtime = createRuntimeClient(socket);
const images = createImageClient(socket);
const run = (command: string, ...args: string[]) => execFileSync(command, args, { encoding: "utf8" });
const property = (name: string) => run("systemctl", "show", "--value", `--property=${name}`, "ocid").trim();
const mainPid = () => {
  const pid = Number(property("MainPID"));
  if (!(pid > 1)) throw new Error("no daemon runs");
  return pid;
};
/** Waits for the daemon that comes after this one; between them there is none. */
const another = (before: number, timeoutMs?: number) =>
  eventually(
    "another daemon",
    () => isActive() && ![0, before].includes(Number(property("MainPID"))),
    timeoutMs,
  );
/** The first call after a restart may still meet the connection to the daemon before. */
const stillRuns = () => eventually("the container runs", () => runs().catch(() => false));
const upMs = () => Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) * 1000;
const isActive = () => property("ActiveState") === "active";
const status = async () => (await runtime.containerStatus({ containerId: container })).status!;
const runs = async () => (await status()).state === ContainerState.CONTAINER_RUNNING;
/** The container's first process by its command line, which no other process has. */
const containerPid = () => run("pgrep", "--full", "--exact", "sleep 98765").trim();

let root: ReturnType<typeof tempRoot>;
let registry: DockerRegistry;
let pod = "";
let container = "";
let pid = "";

beforeAll(async () => {
  root = tempRoot("e2e-service-");
  mkdirSync(join(root.path, "registry"));
  registry = await startDockerRegistry({ directory: join(root.path, "registry") });
  mkdirSync("/etc/containers/registries.conf.d", { recursive: true });
  writeFileSync(
    "/etc/containers/registries.conf.d/lane.conf",
    `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`,
  );
  mkdirSync("/etc/ocid/ocid.conf.d", { recursive: true });
  writeFileSync("/etc/ocid/ocid.conf.d/lane.conf", process.env["OCID_E2E_CONFIG"] ?? "");
});

afterAll(async () => {
  runtime[Symbol.dispose]();
  images[Symbol.dispose]();
  await registry[Symbol.asyncDispose]();
  root.remove();
});

test("the package installs with what it says it needs, and nothing starts by itself", () => {
  const name = readdirSync(repository).find(file => file.endsWith(".deb"));
  run("dpkg", "--force-unsafe-io", "--install", join(repository, name!));
  expect(run("dpkg", "--status", "ocid")).toContain("Status: install ok installed\n");
  expect(property("ActiveState")).toBe("inactive");
  mkdirSync("/etc/cni/net.d", { recursive: true });
  copyFileSync(
    "/usr/share/doc/ocid/examples/10-ocid-bridge.conflist",
    "/etc/cni/net.d/10-ocid-bridge.conflist",
  );
});

test("systemctl start returns when the daemon is ready, and a pod runs", async () => {
  run("systemctl", "start", "ocid");
  expect(isActive()).toBe(true);
  expect(property("StatusText")).not.toBe("");
  const image = `${registry.host}/test/box:1`;
  await pushBusybox(join(root.path, "rootfs"), image);
  await images.pullImage({ image: { image } });
  const config = {
    metadata: { name: "service", namespace: "lane", uid: "service", attempt: 0 },
    logDirectory: join(root.path, "logs"),
    linux: {},
  };
  pod = (await runtime.runPodSandbox({ config })).podSandboxId;
  container = (
    await runtime.createContainer({
      podSandboxId: pod,
      sandboxConfig: config,
      config: {
        metadata: { name: "c", attempt: 0 },
        image: { image },
        command: ["sleep", "98765"],
        logPath: "c.log",
        linux: {},
      },
    })
  ).containerId;
  await runtime.startContainer({ containerId: container });
  expect(await runs()).toBe(true);
  pid = containerPid();
});

test("the doctor finds the node and the pod well", () => {
  const { findings } = JSON.parse(run("ocic", "doctor", "--json"));
  expect(findings.filter((finding: { severity: string }) => finding.severity === "problem")).toEqual([]);
});

test("a daemon that is killed is started again, and the container runs through it", async () => {
  const before = mainPid();
  process.kill(before, "SIGKILL");
  await another(before);
  expect(property("NRestarts")).toBe("1");
  await stillRuns();
  expect(containerPid()).toBe(pid);
});

test("the configuration is read again without another daemon", async () => {
  const before = mainPid();
  run("systemctl", "reload", "ocid");
  await eventually("its word", () =>
    run("journalctl", "--unit=ocid", "--output=cat").includes("configuration"),
  );
  expect(mainPid()).toBe(before);
  expect(await runs()).toBe(true);
});

test("the watchdog is fed for more than its period, and bites a daemon that hangs", async () => {
  const before = mainPid();
  expect(property("WatchdogUSec")).toBe("1min");
  const period = 60_000;
  const startedAt = Number(property("ExecMainStartTimestampMonotonic")) / 1000;
  await eventually("a period and a half", () => upMs() - startedAt > 1.5 * period);
  expect(mainPid()).toBe(before);
  process.kill(before, "SIGSTOP");
  await another(before, 20 * period);
  await stillRuns();
  expect(containerPid()).toBe(pid);
});

test("systemctl stop ends the daemon alone; the next one finds the container and can remove it", async () => {
  run("systemctl", "stop", "ocid");
  expect(property("Result")).toBe("success");
  expect(property("ActiveState")).toBe("inactive");
  expect(containerPid()).toBe(pid);
  run("systemctl", "start", "ocid");
  await stillRuns();
  await runtime.removePodSandbox({ podSandboxId: pod });
  expect(existsSync(`/proc/${pid}`)).toBe(false);
  run("dpkg", "--purge", "ocid");
  expect(property("LoadState")).toBe("not-found");
});
