import { execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ContainerState, NamespaceMode } from "@ocid/cri-api";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions, type TestPod } from "./pod-actions.ts";

const dist = (app: string) => join(import.meta.dirname, "../../../apps", app, "dist");
const newId = () => randomBytes(32).toString("hex");

interface Report {
  readonly findings: readonly {
    readonly kind: string;
    readonly severity: string;
    readonly what: string;
    readonly fixable: boolean;
  }[];
  readonly fixed: Report["findings"];
}

let daemon: DaemonUnderTest;
let podmans: string;
let healthy: TestPod;
let healthyContainer: string;
const { pod, started, exec, remove, status } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
  healthy = await pod("healthy", { portMappings: [{ containerPort: 80, hostPort: 18080 }] });
  healthyContainer = await started(healthy, "c");
  // Podman's own limits are more than a process without CAP_SYS_RESOURCE may give.
  const limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
  podmans = daemon
    .podman("run", "-d", "--network", "none", "--shm-size", "1m", ...limits, daemon.image, "sleep", "1000")
    .trim();
});

afterAll(async () => {
  daemon.podman("rm", "-f", "-t", "0", podmans);
  await daemon[Symbol.asyncDispose]();
});

/** The doctor as an operator starts it; the configuration file is for when the daemon cannot be asked. */
function doctor(...args: string[]): { readonly code: number | null; readonly report: Report } {
  const { root } = daemon;
  writeFileSync(
    join(root, "doctor.conf"),
    [
      `[storage]\nroot = "${root}/r"\nrunroot = "${root}/rr"`,
      `[server]\nlisten = "${root}/ocid.sock"\nstate_dir = "${root}/state"`,
      `[network]\nconfig_dir = "${root}/net.d"\n`,
    ].join("\n"),
  );
  const {
    status: code,
    stdout,
    stderr,
  } = spawnSync(
    join(dist("ocic"), "ocic"),
    ["doctor", "--json", "--config", join(root, "doctor.conf"), ...args],
    { encoding: "utf8", env: { ...process.env, PATH: `${dist("ocid")}:${process.env["PATH"]}` } },
  );
  if (stdout === "") throw new Error(`ocic doctor ended with ${code}: ${stderr}`);
  return { code, report: JSON.parse(stdout) };
}

const problems = ({ findings }: Report) => findings.filter(({ severity }) => severity === "problem");
const kinds = (findings: Report["findings"]) => [...new Set(findings.map(({ kind }) => kind))].sort();

/** Mount points of the cgroup hierarchies in which cgroups can be made. */
function hierarchies(): readonly string[] {
  const lines = readFileSync("/proc/mounts", "utf8").split("\n");
  return lines.flatMap(line => {
    const [, target = "", type = ""] = line.split(" ");
    return /^cgroup2?$/.test(type) && !line.includes("cpuset") ? [target] : [];
  });
}

/** What must be the same before and after: the healthy pod, and the container of Podman with its mounts. */
async function expectUntouched(): Promise<void> {
  expect(await exec(healthyContainer, "echo", "alive")).toBe("alive");
  expect((await status(healthyContainer)).state).toBe(ContainerState.CONTAINER_RUNNING);
  expect(daemon.podman("exec", podmans, "echo", "alive").trim()).toBe("alive");
  expect(readFileSync("/proc/mounts", "utf8")).toContain(`/overlay-containers/${podmans}/userdata/shm`);
}

test("a healthy node is well, with a container of Podman beside the pods", async () => {
  const { code, report } = doctor();
  expect(problems(report)).toEqual([]);
  expect(code).toBe(0);
  expect(doctor("--fix").report.fixed).toEqual([]);
  await expectUntouched();
});

test("leftovers made beside the running daemon are found, told and mended", async () => {
  const state = join(daemon.root, "state");
  const [gonePod, goneContainer] = [newId(), newId()];
  const shm = join(state, "sandboxes", gonePod, "shm");
  const pin = join(state, "sandboxes", gonePod, "ns/net");
  mkdirSync(shm, { recursive: true });
  mkdirSync(join(pin, ".."), { recursive: true });
  writeFileSync(pin, "");
  execFileSync("mount", ["-t", "tmpfs", "shm", shm]);
  execFileSync("mount", ["--bind", "/proc/self/ns/net", pin]);
  const cgroups = hierarchies().flatMap(root =>
    [`ocid-${gonePod}`, `conmon-${goneContainer}`].map(name => join(root, name)),
  );
  for (const path of cgroups) mkdirSync(path, { recursive: true });
  const address = join(daemon.root, "ipam/e2e", `${daemon.addresses}.200`);
  writeFileSync(address, `${gonePod}\r\neth0`);
  chmodSync(state, 0o777);

  const { code, report } = doctor();
  expect(code).toBe(25);
  expect(kinds(problems(report))).toEqual(["access", "cgroup", "mount", "namespace", "network"]);
  expect(problems(report).every(({ fixable }) => fixable)).toBe(true);
  expect(existsSync(address)).toBe(true);

  const mended = doctor("--fix");
  expect(problems(mended.report)).toEqual([]);
  expect(mended.code).toBe(0);
  expect(kinds(mended.report.fixed)).toEqual(["access", "cgroup", "mount", "namespace", "network"]);
  expect(readFileSync("/proc/mounts", "utf8")).not.toContain(gonePod);
  expect(cgroups.filter(existsSync)).toEqual([]);
  expect(existsSync(address)).toBe(false);
  expect(statSync(state).mode & 0o777).toBe(0o711);
  await expectUntouched();
  rmSync(join(state, "sandboxes", gonePod), { recursive: true, force: true });
});

test("all that a pod with lost records leaves is taken back while the daemon is stopped", async () => {
  const state = join(daemon.root, "state");
  const lost = await pod("lost", {
    portMappings: [{ containerPort: 80, hostPort: 18081 }],
    linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } },
  });
  const lostContainer = await started(lost, "c");
  const pauseId = JSON.parse(readFileSync(join(state, "sandboxes", lost.id, "sandbox.json"), "utf8")).pauseId;
  await daemon.stop();
  unlinkSync(join(state, "sandboxes", lost.id, "sandbox.json"));
  rmSync(join(state, "records", lostContainer), { recursive: true });
  for (const id of [lostContainer, pauseId])
    rmSync(join(state, "runtime/containers", id), { recursive: true });
  rmSync(join(state, "cni", `${lost.id}.json`));

  const { report } = doctor();
  expect(kinds(problems(report))).toEqual([
    "cgroup",
    "monitor",
    "mount",
    "namespace",
    "network",
    "store-container",
  ]);
  expect(execFileSync("iptables-save", ["-t", "nat"], { encoding: "utf8" })).toContain(lost.id);

  const mended = doctor("--fix");
  expect(problems(mended.report)).toEqual([]);
  const rules = execFileSync("iptables-save", ["-t", "nat"], { encoding: "utf8" });
  expect(rules).not.toContain(lost.id);
  expect(rules).toContain(healthy.id);
  expect(readFileSync("/proc/mounts", "utf8")).not.toContain(lost.id);
  await daemon.start();
  await expectUntouched();
  // The pod's directory without a record is kept, and told, until somebody decides.
  expect(kinds(problems(doctor("--fix").report))).toEqual(["quarantine"]);
  expect(readdirSync(join(state, "quarantine/sandboxes"))).toEqual([lost.id]);
  rmSync(join(state, "quarantine"), { recursive: true });
  expect(readdirSync(join(daemon.root, "ipam/e2e")).filter(name => /^\d/.test(name))).toHaveLength(1);
});

test("what cannot be mended is told and left: a dead monitor, a scrub's findings, a mistake, a second daemon", async () => {
  const state = join(daemon.root, "state");
  const watched = await pod("watched");
  const id = await started(watched, "c");
  const monitor = Number(readFileSync(join(state, "runtime/containers", id, "monitor-pid"), "utf8"));
  process.kill(monitor, "SIGKILL");
  writeFileSync(
    join(state, "scrub.json"),
    JSON.stringify({
      startedAt: "",
      finishedAt: "2026-01-01T00:00:00Z",
      findings: [{ message: "layer bad" }],
    }),
  );
  const mistaken = join(daemon.root, "mistaken.conf");
  writeFileSync(mistaken, "[server]\nlissten = 3\n");
  const second = spawn(process.execPath, ["-e", "setTimeout(() => {}, 1e6)", "--", "--state-dir", state], {
    argv0: "ocid",
    stdio: "ignore",
  });
  try {
    await eventually("the monitor is gone", () => !existsSync(`/proc/${monitor}`));
    const { code, report } = doctor(
      "--fix",
      "--runtime-endpoint",
      join(daemon.root, "ocid.sock"),
      "--config",
      mistaken,
    );
    expect(code).toBe(25);
    expect(kinds(problems(report))).toEqual(["config", "container-without-monitor", "scrub", "two-daemons"]);
    expect(report.findings.find(({ kind }) => kind === "config")?.what).toContain("mistaken.conf:2");
    expect(report.fixed).toEqual([]);
  } finally {
    second.kill("SIGKILL");
    rmSync(join(state, "scrub.json"));
    await remove(watched);
  }
  await expectUntouched();
});

test("damage of the store is found; links are made again", async () => {
  const links = join(daemon.root, "r/overlay/l");
  for (const name of readdirSync(links)) unlinkSync(join(links, name));
  const { report } = doctor();
  expect(kinds(problems(report))).toEqual(["store-layer-link-broken"]);
  expect(doctor("--fix").code).toBe(0);
  expect(readdirSync(links).length).toBeGreaterThan(0);
  await expectUntouched();
});
