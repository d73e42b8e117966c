import type { MessageInitShape } from "@bufbuild/protobuf";
import { isOcidError } from "@ocid/base";
import type { ContainerStatsFilter, ContainerStatsSchema } from "@ocid/cri-api";
import { mapAhead } from "../ahead.ts";
import type { ContainerUsage } from "../ports.ts";
import type { Container } from "../records.ts";
import { labelsMatch } from "../sandbox-status.ts";
import { nowNs, type ServerContext } from "../server-context.ts";
import { usageMessages } from "./usage-message.ts";

export type ContainerStats = MessageInitShape<typeof ContainerStatsSchema>;

/** Containers or pods that are looked at at once. */
export const looksAtOnce = 8;

/** What a container uses; one that has ended uses only its disk space. `usage`: where it is known already. */
export async function containerStats(
  context: ServerContext,
  container: Container,
  usage?: ContainerUsage,
): Promise<ContainerStats> {
  const { config } = container;
  const known = usage ?? (await usageOf(context, container.id));
  const layer = await context.ports.rootfs.usage(container.id);
  return {
    attributes: {
      id: container.id,
      ...(config.metadata ? { metadata: config.metadata } : {}),
      labels: config.labels,
      annotations: config.annotations,
    },
    ...(known ? usageMessages(known) : {}),
    writableLayer: {
      timestamp: known?.timestampNs ?? nowNs(),
      fsId: { mountpoint: layer.mountpoint },
      usedBytes: { value: BigInt(layer.bytes) },
      inodesUsed: { value: BigInt(layer.inodes) },
    },
  };
}

/** A container that ends between two looks has no usage, which is no failure. */
export async function usageOf(context: ServerContext, id: string): Promise<ContainerUsage | undefined> {
  return await unlessGone(context.ports.runtime.usage(id));
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

/** Of containers that run. */
export async function* listContainerStats(
  context: ServerContext,
  filter: ContainerStatsFilter | undefined,
): AsyncGenerator<ContainerStats, void, undefined> {
  const wanted = [...context.records.containers.values()].filter(
    container => isRunning(container) && matches(container, filter),
  );
  const look = (container: Container) => unlessGone(containerStats(context, container));
  for await (const stats of mapAhead(wanted, looksAtOnce, look)) if (stats) yield stats;
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
