import { join } from "node:path";
import { equals } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import { type ContainerConfig, ContainerConfigSchema, type CreateContainerRequest } from "@ocid/cri-api";
import { applyCdi } from "./cdi/apply-cdi.ts";
import { cdiNames } from "./cdi/cdi-names.ts";
import { checkContainerConfig } from "./container-check.ts";
import { pidNamespaceOf } from "./container-pid-namespace.ts";
import { removeContainerParts } from "./container-remove.ts";
import { declaredVolumes, prepareVolumes, releaseIdmapped } from "./container-volumes.ts";
import {
  askAboutContainer,
  containerIsMade,
  tellOfContainer,
  tellOfUndone,
} from "./plugins/container-events.ts";
import type { CallOptions, StoredImage } from "./ports.ts";
import { refuseUnreachable } from "./reachable.ts";
import type { Container, Sandbox } from "./records.ts";
import { allowedAnnotations } from "./runtime-config/allowed-annotations.ts";
import { containerCgroupsPath } from "./runtime-config/cgroup-path.ts";
import { containerSpec } from "./runtime-config/container-spec.ts";
import { resolveUser } from "./runtime-config/container-user.ts";
import { refuseLabels } from "./runtime-config/security-labels.ts";
import { checkContainerMappings, hostIdOf, podIdMappings } from "./runtime-config/user-namespace.ts";
import { podHostname, sandboxFiles } from "./sandbox-files.ts";
import { newId, nowNs, type ServerContext } from "./server-context.ts";
import { signalName } from "./stop-signal.ts";

/** Makes a container in a pod; what was made is undone when a step fails, also after a restart. */
export async function createContainer(
  context: ServerContext,
  request: CreateContainerRequest,
  options: CallOptions,
): Promise<string> {
  const { records, ports } = context;
  const config = checkContainerConfig(request.config);
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
    if (image.files)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `${JSON.stringify(wanted)} is an artifact, which can be a volume but not run`,
      );
    const container = newContainer(sandbox, name, config, image);
    await records.saveContainer(container);
    try {
      const made = await make(context, sandbox, container, image, options);
      options.signal?.throwIfAborted();
      await records.saveContainer(made);
      containerIsMade(context, made);
      await tellOfContainer(context, "postCreate", made);
      return made.id;
    } catch (error) {
      await tellOfUndone(context, container);
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
    volumeImages: {},
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
  const mappings = podIdMappings(sandbox.config.linux?.securityContext?.namespaceOptions);
  checkContainerMappings(mappings, config.linux?.securityContext?.namespaceOptions?.usernsOptions);
  const handlers = await ports.runtime.handlers();
  const handler = handlers.find(({ name }) => name === sandbox.handler);
  await ports.rootfs.create(
    { id, name: container.name, imageId: image.id, ...(mappings ? { idMappings: mappings } : {}) },
    options,
  );
  const { path: rootPath } = await ports.rootfs.mount(id, {
    ...options,
    userNamespace: sandbox.namespaces.user,
  });
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
  refuseLabels(config, ports.node.securityModules());
  if (mappings) {
    refuseUnreachable(rootPath, mappings);
    for (const gid of [user.gid, ...user.groups]) hostIdOf(mappings.gids, gid, "group");
    hostIdOf(mappings.uids, user.uid, "user");
  }
  const volumes = await prepareVolumes(context, sandbox, container, mappings, options);
  const ordinary = containerSpec({
    id,
    config,
    sandbox: sandbox.config,
    image: image.config,
    user,
    rootPath,
    cgroupsPath: containerCgroupsPath(cgroups.driver, sandbox.cgroupParent, id),
    userMappings: mappings,
    namespaces: sandbox.namespaces,
    hostNetwork: sandbox.hostNetwork,
    pidNamespace: await pidNamespaceOf(context, sandbox, config),
    shmPath: ownIpc ? join(directory, "shm") : "/dev/shm",
    files: sandboxFiles(directory),
    mounts: volumes.mounts,
    recursiveReadOnly: handler?.recursiveReadOnlyMounts ?? false,
    annotations: allowedAnnotations(handler?.annotations ?? [], {
      ...sandbox.config.annotations,
      ...config.annotations,
    }),
    volumes: declaredVolumes(context, container, image.config, mappings),
    hostname: podHostname(sandbox.config, sandbox.hostNetwork),
    bounding: ports.node.capabilities(),
    minOomScoreAdj: ports.node.minOomScoreAdj(),
    support: {
      hugetlb: cgroups.hugetlb,
      swap: cgroups.swap,
      unified: cgroups.version === 2,
      onDropped: what => logger.info("dropped what this node cannot do", { container: id, what }),
    },
  });
  const asked = applyCdi(ordinary, context.cdi.edits(cdiNames(config)));
  const spec = await askAboutContainer(context, sandbox, container, asked);
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
  await releaseIdmapped(context, container);
  return {
    ...container,
    phase: "created",
    user,
    volumeImages: volumes.imageRefs,
    state: { status: "created", pid },
  };
}

function stopSignalOf(config: ContainerConfig, image: StoredImage): string {
  return config.stopSignal !== 0
    ? signalName(config.stopSignal)
    : image.config.config?.StopSignal || "SIGTERM";
}

function containerName(config: ContainerConfig, sandbox: Sandbox): string {
  return `k8s_${config.metadata!.name}_${sandbox.config.metadata!.name}_${sandbox.config.metadata!.namespace}_${sandbox.config.metadata!.uid}_${config.metadata!.attempt}`;
}
