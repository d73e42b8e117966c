import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  LinuxPodSandboxStatsSchema,
  type NetworkInterfaceUsageSchema,
  type PodSandboxStatsFilter,
  PodSandboxStatsSchema,
} from "@ocid/cri-api";
import { mapAhead } from "../ahead.ts";
import { embed } from "../embed.ts";
import type { ContainerUsage, NetworkInterfaceUsage, UsagePart } from "../ports.ts";
import type { Sandbox } from "../records.ts";
import { cgroupDirectory } from "../runtime-config/cgroup-path.ts";
import { labelsMatch } from "../sandbox-status.ts";
import { nowNs, type ServerContext } from "../server-context.ts";
import { type ContainerLook, isRunning, looksAtOnce, usageOf } from "./container-stats.ts";
import { usageMessages } from "./usage-message.ts";

/** What is kept of a look at a pod: all but its containers, which are looked at by themselves. */
export interface PodLook {
  /** Fields of the CRI's PodSandboxStats, encoded. */
  readonly stats: Uint8Array;
  /** Fields of its LinuxPodSandboxStats, encoded. */
  readonly linux: Uint8Array;
}

/** What a pod uses: its cgroup, or its containers together where it has none of its own; and its network. */
export async function lookAtPod(
  context: ServerContext,
  sandbox: Sandbox,
  containers: readonly ContainerLook[],
): Promise<PodLook> {
  const { config } = sandbox;
  const usage = await podUsage(context, sandbox, containers);
  const { cpu, memory, io } = usageMessages(usage);
  const stats = create(PodSandboxStatsSchema, {
    attributes: {
      id: sandbox.id,
      ...(config.metadata ? { metadata: config.metadata } : {}),
      labels: config.labels,
      annotations: config.annotations,
    },
  });
  const linux = create(LinuxPodSandboxStatsSchema, {
    cpu,
    memory,
    ...(io ? { io } : {}),
    network: networkMessage(await interfacesOf(context, sandbox)),
    process: { timestamp: usage.timestampNs, processCount: { value: usage.pids ?? 0n } },
  });
  return {
    stats: toBinary(PodSandboxStatsSchema, stats),
    linux: toBinary(LinuxPodSandboxStatsSchema, linux),
  };
}

/** The whole of a PodSandboxStats, encoded. */
export function podStats({ stats, linux }: PodLook, containers: readonly ContainerLook[]): Uint8Array {
  const { linux: linuxField } = PodSandboxStatsSchema.field;
  const { containers: containersField } = LinuxPodSandboxStatsSchema.field;
  const whole = embed(
    containersField.number,
    containers.map(look => look.stats),
    linux,
  );
  return embed(linuxField.number, [whole], stats);
}

/** Those that are ready, and that a list is asked for. */
export function wantedPods({ records }: ServerContext, filter?: PodSandboxStatsFilter): readonly Sandbox[] {
  return [...records.sandboxes.values()].filter(
    sandbox =>
      sandbox.phase === "ready" &&
      (!filter ||
        (sandbox.id.startsWith(filter.id) && labelsMatch(sandbox.config.labels, filter.labelSelector))),
  );
}

/** Counters of a pod's interfaces, the one that CNI made first; none for a pod on the node's network. */
export async function interfacesOf(
  context: ServerContext,
  sandbox: Sandbox,
): Promise<readonly NetworkInterfaceUsage[]> {
  if (sandbox.namespaces.net === undefined) return [];
  const all = await context.ports.node.networkUsage(sandbox.namespaces.net).catch(error => {
    context.logger.debug("counters of a pod's network cannot be read", { sandbox: sandbox.id, error });
    return [];
  });
  const isDefault = ({ name }: NetworkInterfaceUsage) => name === "eth0";
  return [...all.filter(isDefault), ...all.filter(usage => !isDefault(usage))];
}

async function podUsage(
  context: ServerContext,
  sandbox: Sandbox,
  containers: readonly ContainerLook[],
): Promise<ContainerUsage> {
  const { ports } = context;
  const hasCgroup = sandbox.ownsCgroup || (sandbox.config.linux?.cgroupParent ?? "") !== "";
  const directory = cgroupDirectory(ports.node.cgroups().driver, sandbox.cgroupParent);
  const own = hasCgroup ? await ports.node.cgroupUsage(directory) : undefined;
  const pauseIds = sandbox.pauseId === undefined ? [] : [sandbox.pauseId];
  // A pod's cgroup counts everything but the rate of its CPU.
  const counted = own ? [] : context.records.containersOf(sandbox.id).filter(isRunning);
  const ids = [...counted.map(({ id }) => id), ...pauseIds];
  const usages = await usagesOf(context, ids, own ? [] : ["tasks"]);
  const sum = (key: Summed) => usages.reduce((total, usage) => total + (usage[key] ?? 0n), 0n);
  if (own)
    return {
      ...own,
      cpuNanoCores: containers.reduce(
        (total, { cpuNanoCores = 0n }) => total + cpuNanoCores,
        sum("cpuNanoCores"),
      ),
    };
  return {
    timestampNs: nowNs(),
    cpuUsageNs: sum("cpuUsageNs"),
    cpuNanoCores: sum("cpuNanoCores"),
    memoryUsageBytes: sum("memoryUsageBytes"),
    memoryWorkingSetBytes: sum("memoryWorkingSetBytes"),
    memoryRssBytes: sum("memoryRssBytes"),
    memoryPageFaults: sum("memoryPageFaults"),
    memoryMajorPageFaults: sum("memoryMajorPageFaults"),
    pids: sum("pids"),
    pressure: {},
  };
}

async function usagesOf(
  context: ServerContext,
  ids: readonly string[],
  parts: readonly UsagePart[],
): Promise<readonly ContainerUsage[]> {
  const usages = await Array.fromAsync(mapAhead(ids, looksAtOnce, id => usageOf(context, id, parts)));
  return usages.filter(usage => usage !== undefined);
}

type Summed = Exclude<
  { [K in keyof ContainerUsage]-?: bigint extends ContainerUsage[K] ? K : never }[keyof ContainerUsage],
  "timestampNs"
>;

function networkMessage(interfaces: readonly NetworkInterfaceUsage[]) {
  const [first, ...more] = interfaces.map(interfaceMessage);
  return { timestamp: nowNs(), ...(first ? { defaultInterface: first } : {}), interfaces: more };
}

function interfaceMessage(
  usage: NetworkInterfaceUsage,
): MessageInitShape<typeof NetworkInterfaceUsageSchema> {
  return {
    name: usage.name,
    rxBytes: { value: usage.rxBytes },
    rxErrors: { value: usage.rxErrors },
    txBytes: { value: usage.txBytes },
    txErrors: { value: usage.txErrors },
  };
}
