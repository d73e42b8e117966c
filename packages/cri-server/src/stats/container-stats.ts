import type { MessageInitShape } from "@bufbuild/protobuf";
import { isOcidError } from "@ocid/base";
import {
  type ContainerStatsFilter,
  type ContainerStatsSchema,
  type EncodedMessage,
  ListContainerStatsResponseSchema,
} from "@ocid/cri-api";
import { mapAhead } from "../ahead.ts";
import { EncodedEntries } from "../encoded-entries.ts";
import type { ContainerUsage, UsagePart } from "../ports.ts";
import type { Container } from "../records.ts";
import { labelsMatch } from "../sandbox-status.ts";
import { nowNs, type ServerContext } from "../server-context.ts";
import { RecentLooks } from "./recent-looks.ts";
import { usageMessages } from "./usage-message.ts";

export type ContainerStats = MessageInitShape<typeof ContainerStatsSchema>;

/** Containers or pods that are looked at at once. */
export const looksAtOnce = 8;

/** A container's usage, undefined where it has just ended, and what the CRI says of it. */
export interface ContainerLook {
  readonly id: string;
  readonly usage: ContainerUsage | undefined;
  readonly stats: ContainerStats;
}

/** The kubelet and those who watch a node ask for containers and for pods at the same time. */
const looks = new RecentLooks<Container, ContainerLook>(500);

/** What a container uses, half a second old at most; one that has ended uses only its disk space. */
export function lookAt(context: ServerContext, container: Container): Promise<ContainerLook> {
  return looks.at(container, async () => {
    const usage = await usageOf(context, container.id, []);
    return { id: container.id, usage, stats: await statsOf(context, container, usage) };
  });
}

async function statsOf(
  context: ServerContext,
  container: Container,
  usage: ContainerUsage | undefined,
): Promise<ContainerStats> {
  const { config } = container;
  const layer = await context.ports.rootfs.usage(container.id);
  return {
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
  };
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

/** Of containers that run. */
export async function* listContainerStats(
  context: ServerContext,
  filter: ContainerStatsFilter | undefined,
): AsyncGenerator<ContainerStats, void, undefined> {
  const wanted = [...context.records.containers.values()].filter(
    container => isRunning(container) && matches(container, filter),
  );
  const look = (container: Container) => unlessGone(lookAt(context, container));
  for await (const found of mapAhead(wanted, looksAtOnce, look)) if (found) yield found.stats;
}

/** A look that serves several callers is encoded once. */
const entries = new EncodedEntries(
  ListContainerStatsResponseSchema,
  () => [],
  (stats: ContainerStats) => ({ stats: [stats] }),
);

/** All of them in one answer. */
export async function containerStatsList(
  context: ServerContext,
  filter: ContainerStatsFilter | undefined,
): Promise<EncodedMessage> {
  return entries.list(await Array.fromAsync(listContainerStats(context, filter)));
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
