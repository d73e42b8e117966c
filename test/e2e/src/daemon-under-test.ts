import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createImageClient, createRuntimeClient, NamespaceMode } from "@ocid/cri-api";
import { copyImage, createRegistryDestination, importImage } from "@ocid/image-copy";
import { createRegistryClient } from "@ocid/registry";
import { parseReference } from "@ocid/spec";
import {
  type DockerRegistry,
  leakCheck,
  makeBusyboxRootfs,
  startDockerRegistry,
  tempRoot,
} from "@ocid/testkit";

/** By how much this machine is slower than others; it stretches all waits. */
const patience = Number(process.env["OCID_E2E_PATIENCE"] ?? 1);

const repository = join(import.meta.dirname, "../../..");

/** The built daemon on a store, a socket and a network of its own, with a real registry beside it. */
export interface DaemonUnderTest extends AsyncDisposable {
  readonly root: string;
  /** What the addresses of its pods begin with. */
  readonly addresses: string;
  readonly registry: string;
  readonly image: string;
  readonly runtime: ReturnType<typeof createRuntimeClient>;
  readonly images: ReturnType<typeof createImageClient>;
  start(): Promise<void>;
  /** Ends the daemon at once, as a crash would. */
  kill(): Promise<void>;
  stop(): Promise<void>;
  log(): string;
  /** A container's first process. */
  pidOf(containerId: string): number;
  /** What the daemon's process holds in memory. */
  memoryMiB(): number;
  podman(...args: string[]): string;
  /** A request for a pod of this name. */
  sandboxConfig(
    name: string,
    more?: object,
  ): {
    readonly metadata: {
      readonly name: string;
      readonly namespace: string;
      readonly uid: string;
      readonly attempt: number;
    };
    readonly logDirectory: string;
  };
}

export interface DaemonOptions {
  /** Its configuration file (TOML), to which flags are added. Default: what OCID_E2E_CONFIG has, by which a lane runs all with another runtime. */
  readonly config?: string;
  /** The image policy, in `policy.json` below the root; default: the machine's. */
  readonly policy?: object;
  /** The only file of registries.d; default: the machine's. */
  readonly signatureStores?: (root: string) => string;
  /** Flags beside those that every test has, and directories that programs are looked for in first. */
  readonly prepare?: (root: string) => { readonly flags?: readonly string[]; readonly path?: string };
}

export async function startDaemonUnderTest(options: DaemonOptions = {}): Promise<DaemonUnderTest> {
  const leaks = leakCheck();
  const directory = tempRoot("e2e-");
  const root = directory.path;
  // Roots of user namespaces pass through it.
  chmodSync(root, 0o711);
  const bridge = `ocid-e${process.pid % 100_000}`;
  // Of this process alone: two bridges with the same subnet would take each other's packets.
  const addresses = `10.${128 + (process.pid % 64)}.${(process.pid >> 6) % 256}`;
  mkdirSync(join(root, "registry"));
  const registry: DockerRegistry = await startDockerRegistry({ directory: join(root, "registry") });
  const image = `${registry.host}/test/box:1`;
  await pushBusybox(join(root, "rootfs"), image);
  mkdirSync(join(root, "net.d"));
  const ipam = {
    type: "host-local",
    dataDir: join(root, "ipam"),
    ranges: [[{ subnet: `${addresses}.0/24` }]],
  };
  writeFileSync(
    join(root, "net.d/10-test.conflist"),
    JSON.stringify({
      cniVersion: "1.0.0",
      name: "e2e",
      plugins: [
        { type: "bridge", bridge, isGateway: true, ipam },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    }),
  );
  writeFileSync(
    join(root, "registries.conf"),
    `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`,
  );
  if (options.policy) writeFileSync(join(root, "policy.json"), JSON.stringify(options.policy));
  const home = join(root, "home");
  if (options.signatureStores) {
    mkdirSync(join(home, ".config/containers/registries.d"), { recursive: true });
    writeFileSync(join(home, ".config/containers/registries.d/test.yaml"), options.signatureStores(root));
  }
  const prepared = options.prepare?.(root) ?? {};
  writeFileSync(join(root, "ocid.conf"), options.config ?? process.env["OCID_E2E_CONFIG"] ?? "");
  const socket = join(root, "ocid.sock");
  const log = join(root, "ocid.log");
  let child: ChildProcess | undefined;
  const end = async (signal: NodeJS.Signals) => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise(resolve => child!.once("exit", resolve));
    child.kill(signal);
    await ended;
    child = undefined;
  };
  const runtime = createRuntimeClient(socket);
  const images = createImageClient(socket);
  const daemon: DaemonUnderTest = {
    root,
    addresses,
    registry: registry.host,
    image,
    runtime,
    images,
    async start() {
      writeFileSync(log, "");
      const fd = openSync(log, "a");
      const flags = [
        "--config",
        join(root, "ocid.conf"),
        "--root",
        join(root, "r"),
        "--runroot",
        join(root, "rr"),
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
        "--cdi-spec-dir",
        join(root, "cdi"),
        "--hooks-dir",
        join(root, "hooks"),
        "--nri-socket",
        join(root, "nri.sock"),
        "--nri-plugin-path",
        join(root, "nri-plugins"),
        "--log-level",
        "debug",
        ...(options.policy ? ["--signature-policy", join(root, "policy.json")] : []),
        ...(prepared.flags ?? []),
      ];
      const program = join(repository, "apps/ocid/dist/ocid");
      if (!existsSync(program)) throw new Error(`${program} is not built; run npm run build`);
      child = spawn(program, flags, {
        stdio: ["ignore", fd, fd],
        env: {
          ...process.env,
          ...(options.signatureStores ? { HOME: home } : {}),
          CONTAINERS_REGISTRIES_CONF: join(root, "registries.conf"),
          PATH: [prepared.path, process.env["PATH"]].filter(Boolean).join(":"),
        },
      });
      for (let attempt = 0; !readFileSync(log, "utf8").includes("message=ready"); attempt++) {
        if (attempt === 400 * patience || child.exitCode !== null)
          throw new Error(`ocid did not start:\n${readFileSync(log, "utf8")}`);
        await sleep(25);
      }
    },
    kill: () => end("SIGKILL"),
    stop: () => end("SIGTERM"),
    log: () => readFileSync(log, "utf8"),
    pidOf: id => Number(readFileSync(join(root, "rr/ocid-runtime/running", `${id}@pid`), "utf8")),
    memoryMiB: () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child!.pid}/status`, "utf8"))![1]) / 1024,
    podman: (...args) =>
      execFileSync(
        "podman",
        [
          "--root",
          join(root, "r"),
          "--runroot",
          join(root, "rr"),
          "--storage-driver",
          "overlay",
          "--runtime",
          "runc",
          "--cgroup-manager",
          "cgroupfs",
          "--events-backend",
          "file",
          ...args,
        ],
        { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] },
      ),
    sandboxConfig: (name, more = {}) => ({
      metadata: { name, namespace: "e2e", uid: `uid-${name}`, attempt: 0 },
      logDirectory: join(root, "logs", name),
      linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } } },
      ...more,
    }),
    async [Symbol.asyncDispose]() {
      if (!child) await daemon.start();
      for (const pod of (await runtime.listPodSandbox({})).items)
        await runtime.removePodSandbox({ podSandboxId: pod.id });
      await daemon.stop();
      runtime[Symbol.dispose]();
      images[Symbol.dispose]();
      await registry[Symbol.asyncDispose]();
      execFileSync("sh", ["-c", `ip link del ${bridge} 2>/dev/null || true`]);
      directory.remove();
      await leaks.expectClean(5_000 * patience);
    },
  };
  await daemon.start();
  return daemon;
}

/** Pushes an image of busybox, made in an empty directory, to a registry without TLS. */
export async function pushBusybox(directory: string, image: string): Promise<void> {
  makeBusyboxRootfs(directory);
  await using client = createRegistryClient({ tlsVerify: false });
  await using source = await importImage(directory, {
    config: { Cmd: ["sh"], Env: ["PATH=/bin"], Labels: { purpose: "test" } },
    created: "2026-01-01T00:00:00Z",
  });
  await copyImage(source, createRegistryDestination(client, parseReference(image)));
}

/** Waits until something is so; what never becomes so fails with its name. */
export async function eventually(
  what: string,
  check: () => Promise<boolean> | boolean,
  timeoutMs = 15_000 * patience,
): Promise<void> {
  for (const end = Date.now() + timeoutMs; ; ) {
    if (await check()) return;
    if (Date.now() > end) throw new Error(`did not happen: ${what}`);
    await sleep(20);
  }
}
