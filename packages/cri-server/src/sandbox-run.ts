import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { equals } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import {
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  Protocol,
  type RunPodSandboxRequest,
} from "@ocid/cri-api";
import type { RuntimeSpec } from "@ocid/spec";
import { pauseProgram } from "./pause-program.ts";
import type { CallOptions, NetworkRequest } from "./ports.ts";
import type { Sandbox } from "./records.ts";
import { podSysctls } from "./runtime-config/sysctls.ts";
import { podHostname, writeSandboxFiles } from "./sandbox-files.ts";
import { newId, nowNs, type ServerContext } from "./server-context.ts";

const defaultShmBytes = 64 * 1024 * 1024;

/** Makes a pod's surroundings. What was made is undone when a step fails; a daemon that dies in between undoes it at its next start. */
export async function runSandbox(
  context: ServerContext,
  request: RunPodSandboxRequest,
  options: CallOptions,
): Promise<string> {
  const config = checkConfig(request.config);
  const name = sandboxName(config);
  return await context.locks.run(`sandbox-name ${name}`, async () => {
    const existing = [...context.records.sandboxes.values()].find(sandbox => sandbox.name === name);
    if (existing) return answerRepeat(context, existing, config, request.runtimeHandler);
    if (
      request.runtimeHandler !== "" &&
      !context.ports.runtime.handlers().some(handler => handler.name === request.runtimeHandler)
    ) {
      throw new OcidError(
        "NOT_FOUND",
        `runtime handler ${JSON.stringify(request.runtimeHandler)} is not configured (there are ${context.ports.runtime
          .handlers()
          .map(handler => handler.name)
          .filter(Boolean)
          .join(", ")})`,
      );
    }
    const sandbox = newSandbox(context, name, config, request.runtimeHandler);
    await context.records.saveSandbox(sandbox);
    try {
      await setUp(context, sandbox, options);
      options.signal?.throwIfAborted();
      sandbox.phase = "ready";
      await context.records.saveSandbox(sandbox);
      return sandbox.id;
    } catch (error) {
      await tearDown(context, sandbox).then(
        () => context.records.deleteSandbox(sandbox.id),
        undoError =>
          context.logger.error("cannot clear away a sandbox that could not be made", {
            sandbox: sandbox.id,
            error: undoError,
          }),
      );
      throw error;
    }
  });
}

/** A repeat of a request whose answer a restart may have lost is answered again; anything else finds the name taken. */
function answerRepeat(
  context: ServerContext,
  existing: Sandbox,
  config: PodSandboxConfig,
  handler: string,
): string {
  const same =
    existing.recovered &&
    existing.phase === "ready" &&
    existing.handler === handler &&
    equals(PodSandboxConfigSchema, existing.config, config);
  if (same && context.records.containersOf(existing.id).length === 0) return existing.id;
  throw new OcidError(
    "ALREADY_EXISTS",
    `pod sandbox ${existing.name} exists already (${existing.id.slice(0, 13)}); remove it, or raise its attempt`,
  );
}

function newSandbox(
  context: ServerContext,
  name: string,
  config: PodSandboxConfig,
  handler: string,
): Sandbox {
  const id = newId();
  const parent = config.linux?.cgroupParent ?? "";
  return {
    id,
    name,
    phase: "creating",
    config,
    handler,
    createdAtNs: nowNs(),
    cgroupParent: parent || `/ocid-${id}`,
    ownsCgroup: parent === "",
    hostNetwork: config.linux?.securityContext?.namespaceOptions?.network === NamespaceMode.NODE,
    namespaces: {},
    ips: [],
    pauseId: undefined,
    bootId: context.bootId,
    recovered: false,
  };
}

async function setUp(context: ServerContext, sandbox: Sandbox, options: CallOptions): Promise<void> {
  const { ports, records } = context;
  const { config } = sandbox;
  const directory = records.sandboxDirectory(sandbox.id);
  const namespaces = config.linux?.securityContext?.namespaceOptions;
  const ownIpc = namespaces?.ipc !== NamespaceMode.NODE;
  const host = podHostname(config, sandbox.hostNetwork);
  const sysctls = podSysctls(config.linux?.sysctls ?? {}, { net: !sandbox.hostNetwork, ipc: ownIpc });
  const pins = join(directory, "ns");
  mkdirSync(pins, { mode: 0o700 });
  sandbox.namespaces = await ports.node.createNamespaces(
    {
      directory: pins,
      net: !sandbox.hostNetwork,
      ipc: ownIpc,
      uts: !sandbox.hostNetwork,
      hostname: host,
      sysctls,
    },
    options,
  );
  if (ownIpc) {
    const shm = join(directory, "shm");
    mkdirSync(shm, { mode: 0o1777 });
    await ports.node.mountTmpfs({ path: shm, sizeBytes: defaultShmBytes, mode: 0o1777 });
  }
  // Noted before the network is asked: a kill after this still finds what to give back.
  await records.saveSandbox(sandbox);
  if (!sandbox.hostNetwork) sandbox.ips = (await ports.network.add(networkRequest(sandbox), options)).ips;
  writeSandboxFiles(directory, config, host, sandbox.ips, sandbox.hostNetwork);
  if ((namespaces?.pid ?? NamespaceMode.POD) === NamespaceMode.POD) {
    sandbox.pauseId = newId();
    await records.saveSandbox(sandbox);
    await startPause(context, sandbox, options);
  }
}

/** Undoes `setUp`, however far it came. Each step is tried; the first failure is reported after the others. */
export async function tearDown(context: ServerContext, sandbox: Sandbox): Promise<void> {
  const { ports, records } = context;
  const directory = records.sandboxDirectory(sandbox.id);
  const failures: unknown[] = [];
  const attempt = (work: () => Promise<unknown>) => work().catch(error => failures.push(error));
  if (sandbox.pauseId !== undefined) await attempt(() => ports.runtime.remove(sandbox.pauseId!));
  if (!sandbox.hostNetwork) await attempt(() => ports.network.remove(networkRequest(sandbox)));
  await attempt(() => ports.node.removeNamespaces(join(directory, "ns")));
  await attempt(() => ports.node.unmount(join(directory, "shm")));
  if (sandbox.ownsCgroup) await attempt(() => ports.node.removePodCgroup(sandbox.cgroupParent));
  if (failures.length > 0) throw failures[0];
}

async function startPause(context: ServerContext, sandbox: Sandbox, options: CallOptions): Promise<void> {
  const { ports, records } = context;
  const root = join(records.sandboxDirectory(sandbox.id), "pause");
  mkdirSync(root, { mode: 0o755 });
  writeFileSync(join(root, "pause"), pauseProgram());
  chmodSync(join(root, "pause"), 0o555);
  for (const name of ["proc", "dev", "sys"]) mkdirSync(join(root, name));
  const { namespaces } = sandbox;
  const spec: RuntimeSpec = {
    ociVersion: "1.0.2",
    process: {
      user: { uid: 65535, gid: 65535 },
      args: ["/pause"],
      env: [],
      cwd: "/",
      noNewPrivileges: true,
      capabilities: {},
      oomScoreAdj: Math.max(-998, ports.node.minOomScoreAdj()),
    },
    root: { path: root, readonly: true },
    mounts: [{ destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] }],
    linux: {
      namespaces: [
        { type: "mount" },
        { type: "pid" },
        ...(namespaces.net ? [{ type: "network" as const, path: namespaces.net }] : []),
        ...(namespaces.ipc ? [{ type: "ipc" as const, path: namespaces.ipc }] : []),
        ...(namespaces.uts ? [{ type: "uts" as const, path: namespaces.uts }] : []),
      ],
      cgroupsPath: join(sandbox.cgroupParent, sandbox.pauseId!),
      resources: { devices: [{ allow: false, access: "rwm" }], cpu: { shares: 2 } },
      maskedPaths: ["/proc/kcore", "/proc/keys", "/proc/sysrq-trigger"],
    },
  };
  await ports.runtime.create(
    {
      id: sandbox.pauseId!,
      name: `k8s_POD_${sandbox.name}`,
      runtimeHandler: sandbox.handler,
      spec,
      stdin: false,
      stdinOnce: false,
    },
    options,
  );
  await ports.runtime.start(sandbox.pauseId!, options);
}

const protocols = { [Protocol.TCP]: "tcp", [Protocol.UDP]: "udp", [Protocol.SCTP]: "sctp" } as const;

function networkRequest(sandbox: Sandbox): NetworkRequest {
  const { config } = sandbox;
  const { metadata, dnsConfig } = config;
  return {
    sandboxId: sandbox.id,
    netnsPath: sandbox.namespaces.net ?? "",
    podName: metadata?.name ?? "",
    podNamespace: metadata?.namespace ?? "",
    podUid: metadata?.uid ?? "",
    portMappings: config.portMappings.map(mapping => ({
      hostPort: mapping.hostPort,
      containerPort: mapping.containerPort,
      protocol: protocols[mapping.protocol],
      ...(mapping.hostIp === "" ? {} : { hostIP: mapping.hostIp }),
    })),
    ...(dnsConfig
      ? { dns: { servers: dnsConfig.servers, searches: dnsConfig.searches, options: dnsConfig.options } }
      : {}),
    cgroupPath: sandbox.cgroupParent,
  };
}

function sandboxName({ metadata }: PodSandboxConfig): string {
  return [metadata!.name, metadata!.namespace, metadata!.uid, metadata!.attempt].join("_");
}

function checkConfig(config: PodSandboxConfig | undefined): PodSandboxConfig {
  if (!config?.metadata)
    throw new OcidError("INVALID_ARGUMENT", "the sandbox's config or its metadata is missing");
  const { name, namespace, uid } = config.metadata;
  for (const [field, value] of Object.entries({ name, namespace, uid })) {
    if (value === "" || value.length > 253 || /[/\s\0]/.test(value))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `the sandbox's metadata has no usable ${field}: ${JSON.stringify(value.slice(0, 100))}`,
      );
  }
  const options = config.linux?.securityContext?.namespaceOptions;
  if (
    options?.usernsOptions &&
    options.usernsOptions.mode === NamespaceMode.POD &&
    options.usernsOptions.uids.length > 0
  )
    throw new OcidError("UNIMPLEMENTED", "pods with a user namespace of their own are not implemented");
  if (config.linux?.cgroupParent && !/^[\w./@:-]+$/.test(config.linux.cgroupParent))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `not a cgroup: ${JSON.stringify(config.linux.cgroupParent.slice(0, 200))}`,
    );
  for (const port of config.portMappings) {
    if (port.containerPort < 1 || port.containerPort > 65_535 || port.hostPort < 0 || port.hostPort > 65_535)
      throw new OcidError(
        "INVALID_ARGUMENT",
        `port mapping ${port.hostPort}:${port.containerPort} is out of range`,
      );
  }
  return config;
}
