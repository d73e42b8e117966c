import { chmodSync, chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { equals } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import {
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  Protocol,
  type RunPodSandboxRequest,
  RunPodSandboxRequestSchema,
} from "@ocid/cri-api";
import type { Creation, Stage } from "./creations.ts";
import { askAboutPod, podIsMade, tellOfPod } from "./plugins/pod-events.ts";
import type { CallOptions, NetworkRequest, RuntimeHandlerInfo } from "./ports.ts";
import type { Sandbox } from "./records.ts";
import { allowedAnnotations } from "./runtime-config/allowed-annotations.ts";
import { cgroupDirectory, podCgroupParent } from "./runtime-config/cgroup-path.ts";
import { runtimeResources } from "./runtime-config/resources.ts";
import { refusePodLabels } from "./runtime-config/security-labels.ts";
import { shmBytes } from "./runtime-config/shm-size.ts";
import { podSysctls } from "./runtime-config/sysctls.ts";
import { type PodIdMappings, podIdMappings } from "./runtime-config/user-namespace.ts";
import { checkSandboxConfig } from "./sandbox-check.ts";
import { podHostname, sandboxFiles, writeSandboxFiles } from "./sandbox-files.ts";
import { startPause } from "./sandbox-pause.ts";
import { together } from "./sandbox-resources.ts";
import { newId, nowNs, type ServerContext } from "./server-context.ts";

/**
 * Makes a pod's surroundings. What was made is undone when a step fails; a daemon that dies in between undoes it at its
 * next start. A repeat of a request that is at work joins it. `announce` is called once, when there is a pod.
 */
export async function runSandbox(
  context: ServerContext,
  request: RunPodSandboxRequest,
  announce: (sandbox: Sandbox) => Promise<void>,
  options: CallOptions,
): Promise<string> {
  const config = checkSandboxConfig(request.config);
  const name = sandboxName(config);
  const existing = [...context.records.sandboxes.values()].find(sandbox => sandbox.name === name);
  if (existing && existing.phase !== "creating")
    return answerRepeat(context, existing, config, request.runtimeHandler);
  const id = await context.creations.run(sandboxCreation(context, name, request, announce), options);
  // Nobody was there any more to hear it.
  if (options.signal?.aborted) context.records.getSandbox(id).unanswered = true;
  return id;
}

function sandboxCreation(
  context: ServerContext,
  name: string,
  request: RunPodSandboxRequest,
  announce: (sandbox: Sandbox) => Promise<void>,
): Creation {
  const { records, logger } = context;
  const config = request.config!;
  const undo = async (sandbox: Sandbox) => {
    if (context.plugins.running.has(sandbox)) await tellOfPod(context, "remove", sandbox);
    podIsMade(context, sandbox);
    try {
      await tearDown(context, sandbox);
      records.deleteSandbox(sandbox.id);
    } catch (error) {
      logger.error("cannot clear away a sandbox that could not be made", { sandbox: sandbox.id, error });
    }
  };
  return {
    what: `pod sandbox ${name}`,
    request,
    same: other => equals(RunPodSandboxRequestSchema, request, other.request as RunPodSandboxRequest),
    async make(signal, stage) {
      const handler = await handlerOf(context, request.runtimeHandler);
      refuseHandler(handler, config);
      // What could not be cleared away after an earlier failure has to go first.
      for (const left of [...records.sandboxes.values()].filter(sandbox => sandbox.name === name)) {
        stage(`clearing away what an earlier attempt left in ${records.sandboxDirectory(left.id)}`);
        await tearDown(context, left);
        records.deleteSandbox(left.id);
      }
      const sandbox = newSandbox(context, name, config, request.runtimeHandler);
      await records.saveSandbox(sandbox);
      try {
        await setUp(context, sandbox, handler, { signal }, stage);
        stage(`plugins that want to know of ${sandbox.id}`);
        await askAboutPod(context, sandbox);
        signal.throwIfAborted();
        return sandbox.id;
      } catch (error) {
        await undo(sandbox);
        throw error;
      }
    },
    async publish(id) {
      const sandbox = records.sandboxes.get(id)!;
      sandbox.phase = "ready";
      await records.saveSandbox(sandbox);
      podIsMade(context, sandbox);
      await announce(sandbox);
    },
    undo: id => undo(records.sandboxes.get(id)!),
  };
}

/** A repeat of a request whose answer may have been lost is answered again; anything else finds the name taken. */
function answerRepeat(
  context: ServerContext,
  existing: Sandbox,
  config: PodSandboxConfig,
  handler: string,
): string {
  const same =
    existing.unanswered &&
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
  const { driver } = context.ports.node.cgroups();
  const parent = config.linux?.cgroupParent ?? "";
  return {
    id,
    name,
    phase: "creating",
    config,
    handler,
    createdAtNs: nowNs(),
    cgroupParent: podCgroupParent(driver, parent, id),
    ownsCgroup: parent === "" && driver === "cgroupfs",
    hostNetwork: config.linux?.securityContext?.namespaceOptions?.network === NamespaceMode.NODE,
    namespaces: {},
    ips: [],
    pauseId: undefined,
    bootId: context.bootId,
    unanswered: false,
    stopping: false,
  };
}

async function setUp(
  context: ServerContext,
  sandbox: Sandbox,
  handler: RuntimeHandlerInfo,
  options: CallOptions,
  stage: Stage,
): Promise<void> {
  const { ports, records } = context;
  const { config } = sandbox;
  const directory = records.sandboxDirectory(sandbox.id);
  const namespaces = config.linux?.securityContext?.namespaceOptions;
  const ownIpc = namespaces?.ipc !== NamespaceMode.NODE;
  const host = podHostname(config, sandbox.hostNetwork);
  const sysctls = podSysctls(config.linux?.sysctls ?? {}, { net: !sandbox.hostNetwork, ipc: ownIpc });
  const mappings = podIdMappings(namespaces);
  const shmSize = shmBytes(allowedAnnotations(handler.annotations, config.annotations));
  const onDropped = (what: string) =>
    context.logger.info("dropped what this node cannot do", { sandbox: sandbox.id, what });
  refusePodLabels(config, ports.node.securityModules(), onDropped);
  await limitOwnCgroup(context, sandbox, onDropped);
  const pins = join(directory, "ns");
  mkdirSync(pins, { mode: 0o700 });
  stage(`namespaces in ${pins}`);
  sandbox.namespaces = await ports.node.createNamespaces(
    {
      directory: pins,
      net: !sandbox.hostNetwork,
      ipc: ownIpc,
      uts: !sandbox.hostNetwork,
      hostname: host,
      sysctls,
      ...(mappings ? { userMappings: mappings } : {}),
    },
    options,
  );
  if (ownIpc) {
    const shm = join(directory, "shm");
    stage(`shared memory at ${shm}`);
    mkdirSync(shm, { mode: 0o1777 });
    await ports.node.mountTmpfs({
      path: shm,
      sizeBytes: shmSize,
      mode: 0o1777,
      ...(mappings ? { uid: mappings.uids[0]!.hostID, gid: mappings.gids[0]!.hostID } : {}),
    });
  }
  if (!sandbox.hostNetwork) {
    // Noted before the network is asked: a kill after this still finds what to give back.
    await records.saveSandbox(sandbox);
    stage(`network of ${sandbox.namespaces.net}`);
    const progress = (plugin: string) => stage(`network of ${sandbox.namespaces.net}, plugin ${plugin}`);
    sandbox.ips = (await ports.network.add(networkRequest(context, sandbox), { ...options, progress })).ips;
  }
  writeSandboxFiles(directory, config, host, sandbox.ips, sandbox.hostNetwork);
  if (mappings) giveToPod(directory, mappings);
  if ((namespaces?.pid ?? NamespaceMode.POD) === NamespaceMode.POD) {
    sandbox.pauseId = newId();
    await records.saveSandbox(sandbox);
    stage(`pause container ${sandbox.pauseId}`);
    await startPause(context, sandbox, options);
  }
}

/** The kubelet limits a cgroup that it names by itself; one that is ours nobody else does. */
async function limitOwnCgroup(
  { ports }: ServerContext,
  sandbox: Sandbox,
  onDropped: (what: string) => void,
): Promise<void> {
  const { overhead, resources } = sandbox.config.linux ?? {};
  const { hugetlb, swap, version } = ports.node.cgroups();
  const support = { hugetlb, swap, unified: version === 2, onDropped };
  // Each by itself first, so that a mistake in one is not hidden by the other.
  for (const limits of [overhead, resources]) runtimeResources(limits, { ...support, onDropped: () => {} });
  if (!sandbox.ownsCgroup || !resources) return;
  const limits = runtimeResources(together(overhead, resources), support);
  await ports.node.limitPodCgroup(sandbox.cgroupParent, limits);
}

/** Undoes `setUp`, however far it came. Each step is tried; the first failure is reported after the others. */
export async function tearDown(context: ServerContext, sandbox: Sandbox): Promise<void> {
  const { ports, records } = context;
  const directory = records.sandboxDirectory(sandbox.id);
  const failures: unknown[] = [];
  const attempt = (work: () => Promise<unknown>) => work().catch(error => failures.push(error));
  if (sandbox.pauseId !== undefined) await attempt(() => ports.runtime.remove(sandbox.pauseId!));
  if (!sandbox.hostNetwork) await attempt(() => ports.network.remove(networkRequest(context, sandbox)));
  await attempt(() => ports.node.removeNamespaces(join(directory, "ns")));
  await attempt(() => ports.node.unmount(join(directory, "shm")));
  if (sandbox.ownsCgroup) await attempt(() => ports.node.removePodCgroup(sandbox.cgroupParent));
  if (failures.length > 0) throw failures[0];
}

async function handlerOf({ ports }: ServerContext, name: string): Promise<RuntimeHandlerInfo> {
  const handlers = await ports.runtime.handlers();
  const handler = handlers.find(candidate => candidate.name === name);
  if (handler) return handler;
  const known = handlers.map(candidate => candidate.name).filter(Boolean);
  throw new OcidError(
    "NOT_FOUND",
    `runtime handler ${JSON.stringify(name)} is not configured (there are ${known.join(", ")})`,
  );
}

/** A runtime that says it cannot do it would make containers without. */
function refuseHandler(handler: RuntimeHandlerInfo, config: PodSandboxConfig): void {
  if (podIdMappings(config.linux?.securityContext?.namespaceOptions) && !handler.userNamespaces)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `runtime handler ${JSON.stringify(handler.name)} cannot run pods with a user namespace of their own`,
    );
}

/** The pod's root owns the files that its containers share, and may pass through to them. */
function giveToPod(directory: string, { uids, gids }: PodIdMappings): void {
  const [uid, gid] = [uids[0]!.hostID, gids[0]!.hostID];
  for (const file of Object.values(sandboxFiles(directory))) chownSync(file, uid, gid);
  chownSync(directory, 0, gid);
  chmodSync(directory, 0o710);
}

const protocols = { [Protocol.TCP]: "tcp", [Protocol.UDP]: "udp", [Protocol.SCTP]: "sctp" } as const;

function networkRequest({ ports }: ServerContext, sandbox: Sandbox): NetworkRequest {
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
    cgroupPath: cgroupDirectory(ports.node.cgroups().driver, sandbox.cgroupParent),
  };
}

function sandboxName({ metadata }: PodSandboxConfig): string {
  return [metadata!.name, metadata!.namespace, metadata!.uid, metadata!.attempt].join("_");
}
