import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerFilter,
  type ContainerSchema,
  ContainerState,
  type ContainerStatusRequest,
  type ContainerStatusResponseSchema,
  type ContainerStatusSchema,
  type EncodedMessage,
  ListContainersResponseSchema,
} from "@ocid/cri-api";
import { readContainerState } from "./container-state.ts";
import { EncodedEntries } from "./encoded-entries.ts";
import { shownLimits } from "./plugins/note-limits.ts";
import type { Container } from "./records.ts";
import { labelsMatch } from "./sandbox-status.ts";
import type { ServerContext } from "./server-context.ts";
import { signalOf } from "./stop-signal.ts";

const states = {
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  stopped: ContainerState.CONTAINER_EXITED,
  unknown: ContainerState.CONTAINER_UNKNOWN,
} as const;

/** A container's status, derived anew from the runtime's files and the kernel. */
export async function containerStatus(
  context: ServerContext,
  container: Container,
): Promise<MessageInitShape<typeof ContainerStatusSchema>> {
  const state = await readContainerState(context, container);
  container.state = state;
  const { config } = container;
  const limits = shownLimits(container);
  const exited = state.status === "stopped" ? state : undefined;
  return {
    id: container.id,
    ...(config.metadata ? { metadata: config.metadata } : {}),
    state: states[state.status],
    createdAt: container.createdAtNs,
    startedAt: container.startedAtNs,
    finishedAt: exited?.finishedAtNs ?? 0n,
    exitCode: exited?.exitCode ?? 0,
    ...(config.image ? { image: config.image } : {}),
    imageRef: container.imageRef,
    imageId: container.imageId,
    reason: exited ? (exited.oomKilled ? "OOMKilled" : exited.exitCode === 0 ? "Completed" : "Error") : "",
    message: container.end ? "the runtime has lost what it had of the container; its end was not seen" : "",
    labels: config.labels,
    annotations: config.annotations,
    mounts: config.mounts.map(mount => {
      const imageRef = container.volumeImages?.[mount.containerPath];
      return mount.image && imageRef !== undefined
        ? { ...mount, image: { ...mount.image, imageRef } }
        : mount;
    }),
    stopSignal: signalOf(container.stopSignal),
    logPath: container.logPath ?? "",
    ...(limits ? { resources: { linux: limits } } : {}),
    user: {
      linux: {
        uid: BigInt(container.user.uid),
        gid: BigInt(container.user.gid),
        supplementalGroups: container.user.groups.map(BigInt),
      },
    },
  };
}

export async function containerStatusResponse(
  context: ServerContext,
  request: ContainerStatusRequest,
): Promise<MessageInitShape<typeof ContainerStatusResponseSchema>> {
  const container = context.records.getContainer(request.containerId);
  const status = await containerStatus(context, container);
  if (!request.verbose) return { status };
  const pid =
    container.state.status === "running" || container.state.status === "created"
      ? (container.state.pid ?? 0)
      : 0;
  const info = {
    sandboxID: container.sandboxId,
    pid,
    stopSignal: container.stopSignal,
    restored: container.restored !== undefined,
    ...(container.restored?.checkpointedAt ? { checkpointedAt: container.restored.checkpointedAt } : {}),
    config: { command: container.config.command, args: container.config.args },
  };
  return { status, info: { info: JSON.stringify(info) } };
}

/** From what is remembered: exits have told of every change. */
export function listedContainers(
  context: ServerContext,
  filter: ContainerFilter | undefined,
): readonly Container[] {
  return [...context.records.containers.values()].filter(
    container => container.phase === "created" && matches(container, filter),
  );
}

/** What a list says of a container. */
export function containerMessage(container: Container): MessageInitShape<typeof ContainerSchema> {
  return {
    id: container.id,
    podSandboxId: container.sandboxId,
    ...(container.config.metadata ? { metadata: container.config.metadata } : {}),
    ...(container.config.image ? { image: container.config.image } : {}),
    imageRef: container.imageRef,
    imageId: container.imageId,
    state: states[container.state.status],
    createdAt: container.createdAtNs,
    labels: container.config.labels,
    annotations: container.config.annotations,
  };
}

/** Of a container everything but its state stays as it was made. */
const entries = new EncodedEntries(
  ListContainersResponseSchema,
  (container: Container) => [container.state.status],
  container => ({ containers: [containerMessage(container)] }),
);

export function listContainers(context: ServerContext, filter: ContainerFilter | undefined): EncodedMessage {
  return entries.list(listedContainers(context, filter));
}

function matches(container: Container, filter: ContainerFilter | undefined): boolean {
  if (!filter) return true;
  if (!container.id.startsWith(filter.id) || !container.sandboxId.startsWith(filter.podSandboxId))
    return false;
  if (filter.state && filter.state.state !== states[container.state.status]) return false;
  return labelsMatch(container.config.labels, filter.labelSelector);
}
