import { mkdirSync } from "node:fs";
import { isAbsolute, join, normalize } from "node:path";
import { equals } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import {
  type ContainerConfig,
  ContainerConfigSchema,
  type CreateContainerRequest,
  NamespaceMode,
} from "@ocid/cri-api";
import type { ImageConfig, RuntimeMount } from "@ocid/spec";
import { removeContainerParts } from "./container-remove.ts";
import type { CallOptions, StoredImage } from "./ports.ts";
import type { Container, Sandbox } from "./records.ts";
import { containerSpec } from "./runtime-config/container-spec.ts";
import { resolveUser } from "./runtime-config/container-user.ts";
import { podHostname, sandboxFiles } from "./sandbox-files.ts";
import { newId, nowNs, type ServerContext } from "./server-context.ts";

/** Makes a container in a pod; what was made is undone when a step fails, also after a restart. */
export async function createContainer(
  context: ServerContext,
  request: CreateContainerRequest,
  options: CallOptions,
): Promise<string> {
  const { records, ports } = context;
  const config = checkConfig(request.config);
  const sandbox = records.getSandbox(request.podSandboxId);
  if (sandbox.phase !== "ready")
    throw new OcidError(
      "FAILED_PRECONDITION",
      `pod sandbox ${sandbox.id.slice(0, 13)} is not ready, so no container can be made in it`,
    );
  const name = containerName(config, sandbox);
  return await context.locks.run(`container-name ${name}`, async () => {
    const existing = [...records.containers.values()].find(container => container.name === name);
    if (existing) {
      const same =
        existing.recovered &&
        existing.phase === "created" &&
        existing.startedAtNs === 0n &&
        equals(ContainerConfigSchema, existing.config, config);
      if (same) return existing.id;
      throw new OcidError(
        "ALREADY_EXISTS",
        `container ${name} exists already (${existing.id.slice(0, 13)}); remove it, or raise its attempt`,
      );
    }
    const wanted = config.image?.image ?? "";
    const image = await ports.images.find(wanted, options);
    if (!image)
      throw new OcidError("NOT_FOUND", `image ${JSON.stringify(wanted)} is not on this node; pull it first`);
    const container = newContainer(sandbox, name, config, image);
    await records.saveContainer(container);
    try {
      const made = await make(context, sandbox, container, image, options);
      options.signal?.throwIfAborted();
      await records.saveContainer(made);
      return made.id;
    } catch (error) {
      await removeContainerParts(context, container).then(
        () => records.deleteContainer(container.id),
        undoError =>
          context.logger.error("cannot clear away a container that could not be made", {
            container: container.id,
            error: undoError,
          }),
      );
      throw error;
    }
  });
}

function newContainer(
  sandbox: Sandbox,
  name: string,
  config: ContainerConfig,
  image: StoredImage,
): Container {
  const logs = sandbox.config.logDirectory;
  return {
    id: newId(),
    sandboxId: sandbox.id,
    name,
    phase: "creating",
    config,
    imageId: image.id,
    imageRef: image.repoDigests[0] ?? image.id,
    createdAtNs: nowNs(),
    startedAtNs: 0n,
    stopSignal: stopSignalOf(config, image),
    logPath: logs !== "" && config.logPath !== "" ? join(logs, config.logPath) : undefined,
    user: { uid: 0, gid: 0, groups: [] },
    state: { status: "unknown" },
    endTold: false,
    recovered: false,
  };
}

async function make(
  context: ServerContext,
  sandbox: Sandbox,
  container: Container,
  image: StoredImage,
  options: CallOptions,
): Promise<Container> {
  const { ports, records, logger } = context;
  const { config, id } = container;
  await ports.rootfs.create({ id, name: container.name, imageId: image.id }, options);
  const { path: rootPath } = await ports.rootfs.mount(id, options);
  const user = await resolveUser(config.linux?.securityContext, image.config.config?.User ?? "", path =>
    ports.node.readInRoot(rootPath, path),
  );
  const cgroups = ports.node.cgroups();
  const directory = records.sandboxDirectory(sandbox.id);
  const ownIpc = sandbox.namespaces.ipc !== undefined;
  const oom = Number(config.linux?.resources?.oomScoreAdj ?? 0n);
  if (oom < ports.node.minOomScoreAdj())
    logger.info("oom_score_adj is raised to what this node may give", {
      container: id,
      asked: oom,
      given: ports.node.minOomScoreAdj(),
    });
  const spec = containerSpec({
    id,
    config,
    sandbox: sandbox.config,
    image: image.config,
    user,
    rootPath,
    cgroupsPath:
      cgroups.driver === "systemd" ? `${sandbox.cgroupParent}:ocid:${id}` : join(sandbox.cgroupParent, id),
    namespaces: sandbox.namespaces,
    hostNetwork: sandbox.hostNetwork,
    pidNamespace: await pidNamespace(context, sandbox, config),
    shmPath: ownIpc ? join(directory, "shm") : "/dev/shm",
    files: sandboxFiles(directory),
    imageMounts: await mountImages(context, container, options),
    volumes: imageVolumes(context, container, image.config),
    hostname: podHostname(sandbox.config, sandbox.hostNetwork),
    bounding: ports.node.capabilities(),
    minOomScoreAdj: ports.node.minOomScoreAdj(),
    support: {
      hugetlb: cgroups.hugetlb,
      swap: cgroups.swap,
      onDropped: what => logger.info("dropped what this node cannot do", { container: id, what }),
    },
  });
  for (const mount of config.mounts) ensureSource(mount.hostPath, mount.image !== undefined);
  const { pid } = await ports.runtime.create(
    {
      id,
      name: container.name,
      runtimeHandler: sandbox.handler,
      spec,
      logPath: container.logPath,
      stdin: config.stdin,
      stdinOnce: config.stdinOnce,
    },
    options,
  );
  return { ...container, phase: "created", user, state: { status: "created", pid } };
}

/** A host path that is missing becomes a directory, as the kubelet expects of its volumes. */
function ensureSource(path: string, isImage: boolean): void {
  if (!isImage && isAbsolute(path)) mkdirSync(path, { recursive: true, mode: 0o755 });
}

async function pidNamespace(
  context: ServerContext,
  sandbox: Sandbox,
  config: ContainerConfig,
): Promise<string | undefined> {
  const { records, ports } = context;
  const options = config.linux?.securityContext?.namespaceOptions;
  const mode =
    options?.pid ?? sandbox.config.linux?.securityContext?.namespaceOptions?.pid ?? NamespaceMode.POD;
  if (mode === NamespaceMode.TARGET) {
    const target = records.getContainer(options?.targetId ?? "");
    if (target.sandboxId !== sandbox.id)
      throw new OcidError(
        "INVALID_ARGUMENT",
        `container ${target.id.slice(0, 13)}, whose processes are to be seen, is in another pod`,
      );
    const state = await ports.runtime.state(target.id);
    if (state.status !== "running")
      throw new OcidError(
        "FAILED_PRECONDITION",
        `container ${target.id.slice(0, 13)}, whose processes are to be seen, is not running`,
      );
    return `/proc/${state.pid}/ns/pid`;
  }
  if (mode !== NamespaceMode.POD) return undefined;
  if (sandbox.pauseId === undefined)
    throw new OcidError(
      "INVALID_ARGUMENT",
      "the container is to share the pod's pid namespace, but the pod has none",
    );
  const state = await ports.runtime.state(sandbox.pauseId);
  if (state.status !== "running")
    throw new OcidError(
      "FAILED_PRECONDITION",
      `the process that holds the pid namespace of pod ${sandbox.id.slice(0, 13)} has ended; the pod must be made again`,
    );
  return `/proc/${state.pid}/ns/pid`;
}

async function mountImages(
  context: ServerContext,
  container: Container,
  options: CallOptions,
): Promise<ReadonlyMap<string, string>> {
  const paths = new Map<string, string>();
  for (const mount of container.config.mounts) {
    if (!mount.image) continue;
    const image = await context.ports.images.find(mount.image.image, options);
    if (!image)
      throw new OcidError(
        "NOT_FOUND",
        `image ${JSON.stringify(mount.image.image)} of the volume at ${mount.containerPath} is not on this node; pull it first`,
      );
    const { path } = await context.ports.rootfs.mountImage(
      { imageId: image.id, owner: container.id },
      options,
    );
    const sub = normalize(`/${mount.imageSubPath}`);
    if (mount.imageSubPath.split("/").includes("..") || isAbsolute(mount.imageSubPath))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `the volume at ${mount.containerPath} has a sub-path that leaves its image: ${mount.imageSubPath}`,
      );
    paths.set(mount.containerPath, sub === "/" ? path : join(path, sub));
  }
  return paths;
}

/** Volumes that the image declares are empty directories of the container's own, unless something is mounted there. */
function imageVolumes(
  context: ServerContext,
  container: Container,
  image: ImageConfig,
): readonly RuntimeMount[] {
  const taken = new Set(container.config.mounts.map(mount => normalize(mount.containerPath)));
  return Object.keys(image.config?.Volumes ?? {})
    .filter(path => isAbsolute(path) && !taken.has(normalize(path)))
    .map((path, at) => {
      const source = join(context.records.containerDirectory(container.id), "volumes", String(at));
      mkdirSync(source, { recursive: true, mode: 0o755 });
      return { destination: normalize(path), type: "bind", source, options: ["rbind", "rprivate", "rw"] };
    });
}

function stopSignalOf(config: ContainerConfig, image: StoredImage): string {
  return config.stopSignal !== 0
    ? signalName(config.stopSignal)
    : image.config.config?.StopSignal || "SIGTERM";
}

/** The CRI numbers signals in its own way; the names are the kernel's (`SIGRTMINPLUS3` is `SIGRTMIN+3`). */
function signalName(signal: number): string {
  const field = ContainerConfigSchema.fields.find(candidate => candidate.localName === "stopSignal");
  const name =
    field?.fieldKind === "enum" ? field.enum.values.find(value => value.number === signal)?.name : undefined;
  if (name === undefined) throw new OcidError("INVALID_ARGUMENT", `unknown stop signal ${signal}`);
  return name.replace(/PLUS(?=\d)/, "+").replace(/MINUS(?=\d)/, "-");
}

function containerName(config: ContainerConfig, sandbox: Sandbox): string {
  return `k8s_${config.metadata!.name}_${sandbox.config.metadata!.name}_${sandbox.config.metadata!.namespace}_${sandbox.config.metadata!.uid}_${config.metadata!.attempt}`;
}

function checkConfig(config: ContainerConfig | undefined): ContainerConfig {
  if (!config?.metadata)
    throw new OcidError("INVALID_ARGUMENT", "the container's config or its metadata is missing");
  if (!/^[a-zA-Z0-9][\w.-]{0,252}$/.test(config.metadata.name))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `the container's metadata has no usable name: ${JSON.stringify(config.metadata.name.slice(0, 100))}`,
    );
  if (!config.image?.image)
    throw new OcidError("INVALID_ARGUMENT", `container ${config.metadata.name} names no image`);
  if (config.logPath.split("/").includes("..") || isAbsolute(config.logPath))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `the log path ${JSON.stringify(config.logPath)} leaves the pod's log directory`,
    );
  if (config.CDIDevices.length > 0)
    throw new OcidError(
      "UNIMPLEMENTED",
      `container ${config.metadata.name} asks for CDI devices, which are not implemented`,
    );
  return config;
}
