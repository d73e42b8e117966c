import { join } from "node:path";
import { equals } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import {
  type ContainerConfig,
  ContainerConfigSchema,
  type CreateContainerRequest,
  CreateContainerRequestSchema,
} from "@ocid/cri-api";
import { bringChanges, openCheckpoint, refuseByConfiguration } from "./checkpoint/restore-container.ts";
import { checkContainerConfig, refuseOtherNamespaces } from "./container-check.ts";
import { pidNamespaceOf } from "./container-pid-namespace.ts";
import { removeContainerParts } from "./container-remove.ts";
import { type ContainerSource, containerSource } from "./container-source.ts";
import { declaredVolumes, prepareVolumes, releaseIdmapped } from "./container-volumes.ts";
import type { Creation, Stage } from "./creations.ts";
import { newContainer, restored } from "./new-container.ts";
import { adjustForNode } from "./node-adjustments.ts";
import {
  askAboutContainer,
  containerIsMade,
  tellOfContainer,
  tellOfUndone,
} from "./plugins/container-events.ts";
import type { CallOptions } from "./ports.ts";
import { refuseUnreachable } from "./reachable.ts";
import type { Container, Sandbox } from "./records.ts";
import { allowedAnnotations } from "./runtime-config/allowed-annotations.ts";
import { containerCgroupsPath } from "./runtime-config/cgroup-path.ts";
import { containerSpec } from "./runtime-config/container-spec.ts";
import { resolveUser } from "./runtime-config/container-user.ts";
import { refuseLabels } from "./runtime-config/security-labels.ts";
import { checkContainerMappings, hostIdOf, podIdMappings } from "./runtime-config/user-namespace.ts";
import { podHostname, sandboxFiles } from "./sandbox-files.ts";
import type { ServerContext } from "./server-context.ts";

/**
 * Makes a container in a pod; what was made is undone when a step fails, also after a restart. A repeat of a request
 * that is at work joins it. `announce` is called once, when there is a container.
 */
export async function createContainer(
  context: ServerContext,
  request: CreateContainerRequest,
  announce: (container: Container) => Promise<void>,
  options: CallOptions,
): Promise<string> {
  const { records } = context;
  const config = checkContainerConfig(request.config);
  const sandbox = records.getSandbox(request.podSandboxId);
  refuseStopped(sandbox);
  refuseOtherNamespaces(config, sandbox.config);
  const name = containerName(config, sandbox);
  const existing = [...records.containers.values()].find(container => container.name === name);
  if (existing && existing.phase !== "creating") return answerRepeat(existing, config);
  const id = await context.creations.run(
    containerCreation(context, sandbox, name, request, announce),
    options,
  );
  // Nobody was there any more to hear it.
  if (options.signal?.aborted) records.getContainer(id).unanswered = true;
  return id;
}

/** The name of the work that makes a container, to find and to end it. */
export function containerWork(name: string): string {
  return `container ${name}`;
}

function refuseStopped(sandbox: Sandbox): void {
  if (sandbox.phase === "ready" && !sandbox.stopping) return;
  throw new OcidError(
    "FAILED_PRECONDITION",
    `pod sandbox ${sandbox.id.slice(0, 13)} is not ready, so no container can be made in it`,
  );
}

function containerCreation(
  context: ServerContext,
  sandbox: Sandbox,
  name: string,
  request: CreateContainerRequest,
  announce: (container: Container) => Promise<void>,
): Creation {
  const { records, logger } = context;
  const config = request.config!;
  const undo = async (container: Container) => {
    await tellOfUndone(context, container);
    try {
      await removeContainerParts(context, container);
      records.deleteContainer(container.id);
    } catch (error) {
      logger.error("cannot clear away a container that could not be made", {
        container: container.id,
        error,
      });
    }
  };
  return {
    what: containerWork(name),
    request,
    same: other => equals(CreateContainerRequestSchema, request, other.request as CreateContainerRequest),
    async make(signal, stage) {
      stage(`image ${config.image!.image}`);
      const source = await containerSource(context, sandbox, config, { signal }, stage);
      // What could not be cleared away after an earlier failure has to go first.
      for (const left of [...records.containers.values()].filter(container => container.name === name)) {
        stage(`clearing away what an earlier attempt left as ${left.id}`);
        await removeContainerParts(context, left);
        records.deleteContainer(left.id);
      }
      const container = newContainer(sandbox, name, config, source);
      await records.saveContainer(container);
      try {
        const made = await make(context, sandbox, container, source, { signal }, stage);
        refuseStopped(sandbox);
        signal.throwIfAborted();
        records.containers.set(made.id, made);
        return made.id;
      } catch (error) {
        await undo(container);
        throw error;
      }
    },
    async publish(id) {
      const container: Container = { ...records.containers.get(id)!, phase: "created" };
      await records.saveContainer(container);
      containerIsMade(context, container);
      await tellOfContainer(context, "postCreate", container);
      await announce(container);
    },
    undo: id => undo(records.containers.get(id)!),
  };
}

/** A repeat of a request whose answer may have been lost is answered again; anything else finds the name taken. */
function answerRepeat(existing: Container, config: ContainerConfig): string {
  const same =
    existing.unanswered &&
    existing.startedAtNs === 0n &&
    equals(ContainerConfigSchema, existing.config, config);
  if (same) return existing.id;
  throw new OcidError(
    "ALREADY_EXISTS",
    `container ${existing.name} exists already (${existing.id.slice(0, 13)}); remove it, or raise its attempt`,
  );
}

async function make(
  context: ServerContext,
  sandbox: Sandbox,
  recorded: Container,
  source: ContainerSource,
  options: CallOptions,
  stage: Stage,
): Promise<Container> {
  const { ports, records, logger } = context;
  const { config, id } = recorded;
  const mappings = podIdMappings(sandbox.config.linux?.securityContext?.namespaceOptions);
  checkContainerMappings(mappings, config.linux?.securityContext?.namespaceOptions?.usernsOptions);
  const handlers = await ports.runtime.handlers();
  const handler = handlers.find(({ name }) => name === sandbox.handler);
  const restore =
    source.kind === "image"
      ? undefined
      : await openCheckpoint(context, sandbox, recorded, source, options, stage);
  const image = source.kind === "image" ? source.image : restore!.image;
  const container = restore ? restored(recorded, restore) : recorded;
  stage(`writable layer on image ${image.id}`);
  await ports.rootfs.create(
    // With the id, because the store wants names that no container has which was set aside or not yet cleared away.
    {
      id,
      name: `${container.name}_${id.slice(0, 12)}`,
      imageId: image.id,
      ...(mappings ? { idMappings: mappings } : {}),
    },
    options,
  );
  stage(`root file system of ${id}`);
  const { path: rootPath } = await ports.rootfs.mount(id, {
    ...options,
    userNamespace: sandbox.namespaces.user,
  });
  if (restore) {
    stage(`changes of the checkpointed container, in ${rootPath}`);
    await bringChanges(context, container, restore, options);
  }
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
  const onDropped = (what: string) =>
    logger.info("dropped what this node cannot do", { container: id, what });
  refuseLabels(config, ports.node.securityModules(), onDropped);
  if (mappings) {
    refuseUnreachable(rootPath, mappings);
    for (const gid of [user.gid, ...user.groups]) hostIdOf(mappings.gids, gid, "group");
    hostIdOf(mappings.uids, user.uid, "user");
  }
  const volumes = await prepareVolumes(context, sandbox, container, mappings, options, stage);
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
      onDropped,
    },
  });
  const asked = await adjustForNode(context, sandbox, container, ordinary);
  stage(`plugins that adjust ${id}`);
  const spec = await askAboutContainer(context, sandbox, container, asked);
  if (restore) refuseByConfiguration(restore, spec);
  stage(`runtime ${handler?.name || "(default)"} create, root file system ${rootPath}`);
  const { pid } = await ports.runtime.create(
    {
      id,
      name: container.name,
      runtimeHandler: sandbox.handler,
      spec,
      logPath: container.logPath,
      stdin: config.stdin,
      stdinOnce: config.stdinOnce,
      checkpoint: restore?.checkpoint.processes,
    },
    options,
  );
  await releaseIdmapped(context, container);
  return {
    ...container,
    user,
    volumeImages: volumes.imageRefs,
    state: { status: "created", pid },
  };
}

function containerName(config: ContainerConfig, sandbox: Sandbox): string {
  return `k8s_${config.metadata!.name}_${sandbox.config.metadata!.name}_${sandbox.config.metadata!.namespace}_${sandbox.config.metadata!.uid}_${config.metadata!.attempt}`;
}
