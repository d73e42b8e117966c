import { execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { becomeSubreaper, readProcess } from "@ocid/host";
import { openRuntimeShim, type RuntimeShim } from "@ocid/runtime-shim";
import type { RuntimeSpec } from "@ocid/spec";
import { leakCheck, makeBusyboxRootfs, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = tempRoot("shim-");
const leaks = leakCheck();
const rootfs = makeBusyboxRootfs(join(root.path, "rootfs"));
const stateDir = join(root.path, "state");
const options = {
  stateDir,
  runtimes: [{ name: "runc", path: "runc" }],
  defaultRuntime: "runc",
  conmonPath: "conmon",
};
const reaper = becomeSubreaper();
let shim: RuntimeShim;
let counter = 0;

beforeAll(async () => {
  shim = await openRuntimeShim(options);
});

afterAll(async () => {
  for (const id of await shim.list()) await shim.remove(id);
  await shim[Symbol.asyncDispose]();
  execFileSync("sh", ["-c", "rmdir /sys/fs/cgroup/*/ocid-shim-test 2>/dev/null || true"]);
  await leaks.expectClean();
  reaper[Symbol.dispose]();
  root.remove();
});

function spec(id: string, args: readonly string[]): RuntimeSpec {
  return {
    ociVersion: "1.0.2",
    process: {
      user: { uid: 0, gid: 0 },
      args: [...args],
      env: ["PATH=/bin"],
      cwd: "/",
      capabilities: { bounding: ["CAP_KILL"], effective: ["CAP_KILL"], permitted: ["CAP_KILL"] },
    },
    root: { path: rootfs },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["mode=755"] },
    ],
    linux: {
      namespaces: [{ type: "pid" }, { type: "mount" }, { type: "ipc" }, { type: "uts" }, { type: "network" }],
      cgroupsPath: `/ocid-shim-test/${id}`,
      resources: { devices: [{ allow: false, access: "rwm" }] },
    },
  };
}

async function launch(...args: string[]): Promise<{ id: string; log: string }> {
  const id = `c${process.pid}x${++counter}`;
  const log = join(root.path, "logs", `${id}.log`);
  await shim.create({
    id,
    name: `k8s_${id}`,
    runtimeHandler: "",
    spec: spec(id, args),
    logPath: log,
    stdin: false,
    stdinOnce: false,
  });
  return { id, log };
}

const cgroupsOf = (id: string): string[] =>
  execFileSync("find", ["/sys/fs/cgroup", "-depth", "-type", "d", "-path", `*ocid-shim-test*${id}*`], {
    encoding: "utf8",
  })
    .split("\n")
    .filter(Boolean);

async function exitOf(id: string): Promise<number> {
  for await (const event of shim.exits({ signal: AbortSignal.timeout(20_000) }))
    if (event.id === id) return event.exitCode;
  throw new Error("no exit");
}

describe("a container", () => {
  test("is created, started, logs, and ends with its exit code", async () => {
    const { id, log } = await launch("sh", "-c", "echo out; echo err >&2; printf partial; exit 7");
    expect((await shim.state(id)).status).toBe("created");
    await shim.start(id);
    expect(await exitOf(id)).toBe(7);
    expect(await shim.state(id)).toMatchObject({ status: "stopped", exitCode: 7, oomKilled: false });
    expect(readFileSync(log, "utf8").replace(/^\S+ /gm, "").split("\n").sort()).toEqual(
      ["", "stderr F err", "stdout F out", "stdout P partial"].sort(),
    );
    await shim.remove(id);
    await shim.remove(id);
    await expect(shim.state(id)).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  test("takes commands, with output apart and exit codes", async () => {
    const { id } = await launch("sleep", "1000");
    await shim.start(id);
    const base = await shim.processOf(id);
    const exec = (args: string[], timeoutMs = 0) =>
      shim.execSync(id, { process: { ...base, args }, timeoutMs });
    const { stdout, stderr, exitCode } = await exec(["sh", "-c", "echo a; echo b >&2; exit 3"]);
    expect([stdout.toString(), stderr.toString(), exitCode]).toEqual(["a\n", "b\n", 3]);
    await expect(exec(["/no/such"])).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining("/no/such"),
    });
    await expect(exec(["sh", "-c", "sleep 4321"], 300)).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect((await exec(["sh", "-c", "ps | grep -c '[s]leep 4321' || true"])).stdout.toString()).toBe("0\n");
    expect((await shim.usage(id)).memoryUsageBytes).toBeGreaterThan(0n);
    await shim.stop(id, { stopSignal: "SIGTERM", timeoutMs: 200 });
    expect(await shim.state(id)).toMatchObject({ status: "stopped", exitCode: 137 });
    await expect(exec(["true"])).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    await shim.remove(id);
  });

  test("is stopped by its own signal when it listens", async () => {
    const { id } = await launch("sh", "-c", 'trap "exit 5" USR1; while :; do sleep 0.05; done');
    await shim.start(id);
    await new Promise(resolve => setTimeout(resolve, 300));
    await shim.stop(id, { stopSignal: "USR1", timeoutMs: 10_000 });
    expect(await shim.state(id)).toMatchObject({ status: "stopped", exitCode: 5 });
    await shim.remove(id);
  });

  test("goes on logging into a new file after rotation", async () => {
    const { id, log } = await launch("sh", "-c", "while :; do echo tick; sleep 0.02; done");
    await shim.start(id);
    renameSync(log, `${log}.1`);
    await shim.reopenLog(id);
    await new Promise(resolve => setTimeout(resolve, 200));
    expect(readFileSync(log, "utf8")).toContain("tick");
    await shim.remove(id);
  });

  test("has its limits changed while it runs", async () => {
    const { id } = await launch("sleep", "1000");
    await shim.start(id);
    await shim.updateResources(id, { memory: { limit: 64 * 1024 * 1024 }, cpu: { shares: 512 } });
    expect((await shim.usage(id)).memoryAvailableBytes).toBeLessThanOrEqual(64n * 1024n * 1024n);
    await shim.remove(id);
  });
});

describe("what goes wrong", () => {
  test("a command that is not there leaves nothing", async () => {
    const id = `bad${++counter}`;
    await expect(
      shim.create({
        id,
        name: "k8s_bad",
        runtimeHandler: "",
        spec: spec(id, ["/no/such/program"]),
        stdin: false,
        stdinOnce: false,
      }),
    ).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("/no/such/program"),
    });
    expect(await shim.list()).not.toContain(id);
    expect(existsSync(`/sys/fs/cgroup/memory/ocid-shim-test/${id}`)).toBe(false);
  });

  test("whose files somebody has removed goes with its monitor, which would still write its end down", async () => {
    const { id } = await launch("sleep", "1000");
    await shim.start(id);
    const monitor = Number(readFileSync(join(stateDir, "containers", id, "monitor-pid"), "utf8"));
    // As one that has not come to write yet.
    process.kill(monitor, "SIGSTOP");
    rmSync(join(stateDir, "containers", id), { recursive: true });
    await shim.remove(id);
    expect(readProcess(monitor)?.state ?? "Z", "or waiting for its parent, us").toBe("Z");
    expect(readdirSync(join(stateDir, "exits")).filter(name => name.startsWith(id))).toEqual([]);
    execFileSync("rmdir", cgroupsOf(id));
  });

  test("an unknown handler and a missing runtime are named", async () => {
    await expect(
      shim.create({
        id: "x1",
        name: "x",
        runtimeHandler: "kata",
        spec: spec("x1", ["true"]),
        stdin: false,
        stdinOnce: false,
      }),
    ).rejects.toMatchObject({ code: "NOT_FOUND", message: expect.stringContaining("kata") });
    const other = await openRuntimeShim({ ...options, runtimes: [{ name: "runc", path: "/no/runc" }] });
    await expect(
      other.create({
        id: "x2",
        name: "x",
        runtimeHandler: "",
        spec: spec("x2", ["true"]),
        stdin: false,
        stdinOnce: false,
      }),
    ).rejects.toMatchObject({ code: "FAILED_PRECONDITION", message: expect.stringContaining("/no/runc") });
    await other[Symbol.asyncDispose]();
  });

  test("a program that is killed leaves its containers, which another one finds", async () => {
    const id = `kill${process.pid}`;
    const program = `
      import { openRuntimeShim } from "@ocid/runtime-shim";
      const { options, launch } = JSON.parse(process.env.JOB);
      const shim = await openRuntimeShim(options);
      await shim.create(launch);
      await shim.start(launch.id);
      console.log("started");
      setInterval(() => {}, 1000);`;
    const job = {
      options,
      launch: {
        id,
        name: "k8s_kill",
        runtimeHandler: "",
        spec: spec(id, ["sh", "-c", "sleep 1; exit 11"]),
        logPath: join(root.path, "kill.log"),
        stdin: false,
        stdinOnce: false,
      },
    };
    const child = spawn(
      process.execPath,
      ["--conditions=@ocid/source", "--input-type=module", "-e", program],
      {
        cwd: import.meta.dirname,
        env: { ...process.env, JOB: JSON.stringify(job) },
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    await new Promise(resolve => child.stdout.once("data", resolve));
    child.kill("SIGKILL");
    expect((await shim.state(id)).status).toBe("running");
    expect(await exitOf(id)).toBe(11);
    await shim.remove(id);
  });
});
