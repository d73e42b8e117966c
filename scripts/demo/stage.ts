import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, leakCheck, makeBusyboxRootfs, unmountBelow } from "@ocid/testkit";
import { repository } from "../run.ts";

/** Everything that the demonstration needs, below one temporary directory. */
export interface Stage {
  readonly root: string;
  readonly registry: string;
  readonly bridge: string;
  readonly rootfs: string;
  readonly leaks: ReturnType<typeof leakCheck>;
  /** Runs `ocic` with the stage's store and socket; returns its output. */
  ocic(
    args: readonly string[],
    options?: { readonly show?: boolean; readonly expectExit?: number; readonly store?: boolean },
  ): string;
  startDaemon(): Promise<void>;
  stopDaemon(): Promise<void>;
  /** Ends everything and removes the directory. */
  strike(): Promise<void>;
}

export async function buildStage(): Promise<Stage> {
  const leaks = leakCheck();
  const root = mkdtempSync(join(tmpdir(), "ocid-demo-"));
  const port = await freePort();
  const registry = `127.0.0.1:${port}`;
  const bridge = `ocid${process.pid % 100_000}`;
  const rootfs = makeBusyboxRootfs(join(root, "rootfs"));
  writeConfiguration(root, port, bridge);
  const environment = {
    ...process.env,
    CONTAINERS_REGISTRIES_CONF: join(root, "registries.conf"),
    OTEL_TRACES_EXPORTER: "none",
  };
  const socket = join(root, "ocid.sock");
  const store = ["--root", join(root, "storage"), "--runroot", join(root, "run")];
  const children: ChildProcess[] = [];
  const start = (program: string, args: readonly string[], log: string) => {
    const fd = openSync(join(root, log), "a");
    const child = spawn(program, args, { stdio: ["ignore", fd, fd], env: environment });
    children.push(child);
    return child;
  };
  let daemon: ChildProcess | undefined;
  start("docker-registry", ["serve", join(root, "registry.yml")], "registry.log");
  await until(
    async () => (await fetch(`http://${registry}/v2/`)).ok,
    "the registry",
    () => readFileSync(join(root, "registry.log"), "utf8"),
  );
  return {
    root,
    registry,
    bridge,
    rootfs,
    leaks,
    ocic(args, { show = true, expectExit = 0, store: withStore = false } = {}) {
      const program = join(repository, "apps/ocic/dist/ocic");
      const all = [...(withStore ? store : ["--runtime-endpoint", socket]), ...args];
      if (show) console.log(`  $ ocic ${args.join(" ")}`);
      let output = "";
      let exit = 0;
      try {
        output = execFileSync(program, all, {
          encoding: "utf8",
          env: environment,
          stdio: ["ignore", "pipe", show ? "inherit" : "pipe"],
        });
      } catch (error) {
        const failed = error as { status?: number; stdout?: string; stderr?: string };
        exit = failed.status ?? 1;
        output = failed.stdout ?? "";
        if (exit !== expectExit)
          throw new Error(
            `ocic ${args.join(" ")} ended with exit code ${exit}: ${failed.stderr ?? ""}${output}`,
          );
      }
      if (exit !== expectExit)
        throw new Error(`ocic ${args.join(" ")} ended with exit code ${exit} instead of ${expectExit}`);
      if (show && output !== "") console.log(output.replace(/^/gm, "    ").trimEnd());
      return output.trim();
    },
    async startDaemon() {
      const flags = [
        ...store,
        "--state-dir",
        join(root, "state"),
        "--listen",
        socket,
        "--cni-config-dir",
        join(root, "net.d"),
        "--cni-plugin-dir",
        "/opt/cni/bin",
        "--cni-plugin-dir",
        "/usr/lib/cni",
        "--log-level",
        "debug",
      ];
      writeFileSync(join(root, "ocid.log"), "");
      daemon = start(join(repository, "apps/ocid/dist/ocid"), flags, "ocid.log");
      await until(
        async () => readFileSync(join(root, "ocid.log"), "utf8").includes("message=ready"),
        "ocid",
        () => readFileSync(join(root, "ocid.log"), "utf8"),
      );
    },
    async stopDaemon() {
      await end(daemon);
      daemon = undefined;
    },
    async strike() {
      for (const child of children.reverse()) await end(child);
      unmountBelow(root);
      execFileSync("sh", ["-c", `ip link del ${bridge} 2>/dev/null || true`]);
      rmSync(root, { recursive: true, force: true });
    },
  };
}

function writeConfiguration(root: string, port: number, bridge: string): void {
  mkdirSync(join(root, "net.d"));
  mkdirSync(join(root, "registry"));
  writeFileSync(
    join(root, "registry.yml"),
    `version: 0.1\nlog: { level: error }\nstorage: { filesystem: { rootdirectory: ${root}/registry }, delete: { enabled: true } }\nhttp: { addr: "127.0.0.1:${port}" }\n`,
  );
  writeFileSync(
    join(root, "registries.conf"),
    `[[registry]]\nlocation = "127.0.0.1:${port}"\ninsecure = true\n`,
  );
  const ipam = { type: "host-local", dataDir: join(root, "ipam"), ranges: [[{ subnet: "10.88.213.0/24" }]] };
  const plugins = [
    { type: "bridge", bridge, isGateway: true, ipMasq: false, ipam },
    { type: "portmap", capabilities: { portMappings: true } },
  ];
  writeFileSync(
    join(root, "net.d/10-demo.conflist"),
    JSON.stringify({ cniVersion: "1.0.0", name: "demo", plugins }),
  );
}

async function until(ready: () => Promise<boolean>, what: string, log: () => string): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt++) {
    if (await ready().catch(() => false)) return;
    await sleep(25);
  }
  throw new Error(`${what} did not start:\n${log()}`);
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise(resolve => child.once("exit", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await ended;
  clearTimeout(timer);
}
