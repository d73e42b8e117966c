import type { MessageInitShape } from "@bufbuild/protobuf";
import { isOcidError } from "@ocid/base";
import type {
  ContainerStatsFilter,
  ContainerStatsSchema,
  PodSandboxStatsFilter,
  PodSandboxStatsSchema,
} from "@ocid/cri-api";
import type { ContainerUsage, NetworkInterfaceUsage } from "./ports.ts";
import type { Container, Sandbox } from "./records.ts";
import { labelsMatch } from "./sandbox-status.ts";
import { nowNs, type ServerContext } from "./server-context.ts";

type ContainerStats = MessageInitShape<typeof ContainerStatsSchema>;
type PodStats = MessageInitShape<typeof PodSandboxStatsSchema>;

/** What a container uses; one that has ended uses only its disk space. */
export async function containerStats(context: ServerContext, container: Container): Promise<ContainerStats> {
  const { config } = container;
  const usage = await usageOf(context, container.id);
  const layer = await context.ports.rootfs.usage(container.id);
  const timestamp = usage?.timestampNs ?? nowNs();
  return {
    attributes: {
      id: container.id,
      ...(config.metadata ? { metadata: config.metadata } : {}),
      labels: config.labels,
      annotations: config.annotations,
    },
    ...(usage ? measured(usage) : {}),
    writableLayer: {
      timestamp,
      fsId: { mountpoint: layer.mountpoint },
      usedBytes: { value: BigInt(layer.bytes) },
      inodesUsed: { value: BigInt(layer.inodes) },
    },
  };
}

function measured(usage: ContainerUsage) {
  const timestamp = usage.timestampNs;
  const value = (number: bigint | undefined) => (number === undefined ? {} : { value: number });
  return {
    cpu: {
      timestamp,
      usageCoreNanoSeconds: { value: usage.cpuUsageNs },
      ...(usage.cpuNanoCores === undefined ? {} : { usageNanoCores: { value: usage.cpuNanoCores } }),
    },
    memory: {
      timestamp,
      workingSetBytes: value(usage.memoryWorkingSetBytes),
      ...(usage.memoryAvailableBytes === undefined
        ? {}
        : { availableBytes: value(usage.memoryAvailableBytes) }),
      usageBytes: value(usage.memoryUsageBytes),
      rssBytes: value(usage.memoryRssBytes),
      pageFaults: value(usage.memoryPageFaults),
      majorPageFaults: value(usage.memoryMajorPageFaults),
    },
    ...(usage.swapUsageBytes === undefined
      ? {}
      : {
          swap: {
            timestamp,
            swapUsageBytes: value(usage.swapUsageBytes),
            ...(usage.swapAvailableBytes === undefined
              ? {}
              : { swapAvailableBytes: value(usage.swapAvailableBytes) }),
          },
        }),
  };
}

/** A container that ends between two looks has no usage, which is no failure. */
async function usageOf(context: ServerContext, id: string): Promise<ContainerUsage | undefined> {
  try {
    return await context.ports.runtime.usage(id);
  } catch (error) {
    if (isOcidError(error, "FAILED_PRECONDITION") || isOcidError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
}

export async function listContainerStats(
  context: ServerContext,
  filter: ContainerStatsFilter | undefined,
): Promise<readonly ContainerStats[]> {
  const wanted = [...context.records.containers.values()].filter(container => {
    if (container.phase !== "created" || container.state.status !== "running") return false;
    return (
      !filter ||
      (container.id.startsWith(filter.id) &&
        container.sandboxId.startsWith(filter.podSandboxId) &&
        labelsMatch(container.config.labels, filter.labelSelector))
    );
  });
  return await Promise.all(wanted.map(container => containerStats(context, container)));
}

/** What a pod uses: the sum of its containers, and its network. */
export async function podSandboxStats(context: ServerContext, sandbox: Sandbox): Promise<PodStats> {
  const { config } = sandbox;
  const containers = context.records
    .containersOf(sandbox.id)
    .filter(container => container.state.status === "running");
  const usages = (
    await Promise.all(
      [...containers.map(container => container.id), ...(sandbox.pauseId ? [sandbox.pauseId] : [])].map(id =>
        usageOf(context, id),
      ),
    )
  ).filter(usage => usage !== undefined);
  const timestamp = nowNs();
  const sum = (
    key:
      | "cpuUsageNs"
      | "memoryUsageBytes"
      | "memoryWorkingSetBytes"
      | "memoryRssBytes"
      | "memoryPageFaults"
      | "memoryMajorPageFaults"
      | "pids",
  ) => ({ value: usages.reduce((total, usage) => total + usage[key], 0n) });
  const interfaces = sandbox.namespaces.net
    ? await context.ports.node.networkUsage(sandbox.namespaces.net).catch(() => [])
    : [];
  const network = interfaces.map(interfaceUsage);
  return {
    attributes: {
      id: sandbox.id,
      ...(config.metadata ? { metadata: config.metadata } : {}),
      labels: config.labels,
      annotations: config.annotations,
    },
    linux: {
      cpu: {
        timestamp,
        usageCoreNanoSeconds: sum("cpuUsageNs"),
        usageNanoCores: { value: usages.reduce((total, usage) => total + (usage.cpuNanoCores ?? 0n), 0n) },
      },
      memory: {
        timestamp,
        usageBytes: sum("memoryUsageBytes"),
        workingSetBytes: sum("memoryWorkingSetBytes"),
        rssBytes: sum("memoryRssBytes"),
        pageFaults: sum("memoryPageFaults"),
        majorPageFaults: sum("memoryMajorPageFaults"),
      },
      network: {
        timestamp,
        ...(network[0] ? { defaultInterface: network[0] } : {}),
        interfaces: network.slice(1),
      },
      process: { timestamp, processCount: sum("pids") },
      containers: await Promise.all(containers.map(container => containerStats(context, container))),
    },
  };
}

function interfaceUsage(usage: NetworkInterfaceUsage) {
  return {
    name: usage.name,
    rxBytes: { value: usage.rxBytes },
    rxErrors: { value: usage.rxErrors },
    txBytes: { value: usage.txBytes },
    txErrors: { value: usage.txErrors },
  };
}

export async function listPodSandboxStats(
  context: ServerContext,
  filter: PodSandboxStatsFilter | undefined,
): Promise<readonly PodStats[]> {
  const wanted = [...context.records.sandboxes.values()].filter(
    sandbox =>
      sandbox.phase === "ready" &&
      (!filter ||
        (sandbox.id.startsWith(filter.id) && labelsMatch(sandbox.config.labels, filter.labelSelector))),
  );
  return await Promise.all(wanted.map(sandbox => podSandboxStats(context, sandbox)));
}
