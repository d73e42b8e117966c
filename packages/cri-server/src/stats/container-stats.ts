import { create, toBinary } from "@bufbuild/protobuf";
import { isOcidError } from "@ocid/base";
import { type ContainerStatsFilter, ContainerStatsSchema } from "@ocid/cri-api";
import type { ContainerUsage, UsagePart } from "../ports.ts";
import type { Container } from "../records.ts";
import { labelsMatch } from "../sandbox-status.ts";
import { nowNs, type ServerContext } from "../server-context.ts";
import { usageMessages } from "./usage-message.ts";

/** Containers or pods that are looked at at once. */
export const looksAtOnce = 8;

/** What is kept of a look at a container. */
export interface ContainerLook {
  /** Undefined at the first look, and where it has just ended. */
  readonly cpuNanoCores: bigint | undefined;
  /** The CRI's ContainerStats, encoded once for all who ask. */
  readonly stats: Uint8Array;
}

/** What a container uses; one that has ended uses only its disk space. */
export async function lookAtContainer(context: ServerContext, container: Container): Promise<ContainerLook> {
  const { config } = container;
  const usage = await usageOf(context, container.id, []);
  const layer = await context.ports.rootfs.usage(container.id);
  const stats = create(ContainerStatsSchema, {
    attributes: {
      id: container.id,
      ...(config.metadata ? { metadata: config.metadata } : {}),
      labels: config.labels,
      annotations: config.annotations,
    },
    ...(usage ? usageMessages(usage) : {}),
    writableLayer: {
      timestamp: usage?.timestampNs ?? nowNs(),
      fsId: { mountpoint: layer.mountpoint },
      usedBytes: { value: BigInt(layer.bytes) },
      inodesUsed: { value: BigInt(layer.inodes) },
    },
  });
  return { cpuNanoCores: usage?.cpuNanoCores, stats: toBinary(ContainerStatsSchema, stats) };
}

/** A container that ends between two looks has no usage, which is no failure. `parts`: default all. */
export async function usageOf(
  context: ServerContext,
  id: string,
  parts?: readonly UsagePart[],
): Promise<ContainerUsage | undefined> {
  return await unlessGone(context.ports.runtime.usage(id, parts ? { parts } : {}));
}

/** What has ended, or was removed, while it was looked at is left out. */
export async function unlessGone<T>(look: Promise<T>): Promise<T | undefined> {
  try {
    return await look;
  } catch (error) {
    if (isOcidError(error, "FAILED_PRECONDITION") || isOcidError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
}

/** Those that run, and that a list is asked for. */
export function wantedContainers(
  { records }: ServerContext,
  filter?: ContainerStatsFilter,
): readonly Container[] {
  return [...records.containers.values()].filter(
    container => isRunning(container) && matches(container, filter),
  );
}

export function isRunning(container: Container): boolean {
  return container.phase === "created" && container.state.status === "running";
}

function matches(container: Container, filter: ContainerStatsFilter | undefined): boolean {
  return (
    !filter ||
    (container.id.startsWith(filter.id) &&
      container.sandboxId.startsWith(filter.podSandboxId) &&
      labelsMatch(container.config.labels, filter.labelSelector))
  );
}
