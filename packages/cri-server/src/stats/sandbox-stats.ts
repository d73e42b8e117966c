import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  NetworkInterfaceUsageSchema,
  PodSandboxStatsFilter,
  PodSandboxStatsSchema,
} from "@ocid/cri-api";
import { mapAhead } from "../ahead.ts";
import type { ContainerUsage, NetworkInterfaceUsage, UsagePart } from "../ports.ts";
import type { Sandbox } from "../records.ts";
import { cgroupDirectory } from "../runtime-config/cgroup-path.ts";
import { labelsMatch } from "../sandbox-status.ts";
import { nowNs, type ServerContext } from "../server-context.ts";
import {
  type ContainerLook,
  isRunning,
  lookAt,
  looksAtOnce,
  unlessGone,
  usageOf,
} from "./container-stats.ts";
import { usageMessages } from "./usage-message.ts";

type PodStats = MessageInitShape<typeof PodSandboxStatsSchema>;

/** What a pod uses: its cgroup, or its containers together where it has none of its own; and its network. */
export async function podSandboxStats(context: ServerContext, sandbox: Sandbox): Promise<PodStats> {
  const { config } = sandbox;
  const running = context.records.containersOf(sandbox.id).filter(isRunning);
  const found = await Promise.all(running.map(container => unlessGone(lookAt(context, container))));
  const containers = found.filter(look => look !== undefined);
  const usage = await podUsage(context, sandbox, containers);
  const { cpu, memory, io } = usageMessages(usage);
  return {
    attributes: {
      id: sandbox.id,
      ...(config.metadata ? { metadata: config.metadata } : {}),
      labels: config.labels,
      annotations: config.annotations,
    },
    linux: {
      cpu,
      memory,
      ...(io ? { io } : {}),
      network: networkMessage(await interfacesOf(context, sandbox)),
      process: { timestamp: usage.timestampNs, processCount: { value: usage.pids ?? 0n } },
      containers: containers.map(({ stats }) => stats),
    },
  };
}

/** Of pods that are ready. */
export async function* listPodSandboxStats(
  context: ServerContext,
  filter: PodSandboxStatsFilter | undefined,
): AsyncGenerator<PodStats, void, undefined> {
  const wanted = [...context.records.sandboxes.values()].filter(
    sandbox =>
      sandbox.phase === "ready" &&
      (!filter ||
        (sandbox.id.startsWith(filter.id) && labelsMatch(sandbox.config.labels, filter.labelSelector))),
  );
  yield* mapAhead(wanted, looksAtOnce, sandbox => podSandboxStats(context, sandbox));
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
  const looks = own
    ? [...containers.map(({ usage }) => usage), ...(await usagesOf(context, pauseIds, []))]
    : await usagesOf(context, [...containers.map(({ id }) => id), ...pauseIds], ["tasks"]);
  const usages = looks.filter(usage => usage !== undefined);
  const sum = (key: Summed) => usages.reduce((total, usage) => total + (usage[key] ?? 0n), 0n);
  const cpuNanoCores = sum("cpuNanoCores");
  if (own) return { ...own, cpuNanoCores };
  return {
    timestampNs: nowNs(),
    cpuUsageNs: sum("cpuUsageNs"),
    cpuNanoCores,
    memoryUsageBytes: sum("memoryUsageBytes"),
    memoryWorkingSetBytes: sum("memoryWorkingSetBytes"),
    memoryRssBytes: sum("memoryRssBytes"),
    memoryPageFaults: sum("memoryPageFaults"),
    memoryMajorPageFaults: sum("memoryMajorPageFaults"),
    pids: sum("pids"),
    pressure: {},
  };
}

function usagesOf(
  context: ServerContext,
  ids: readonly string[],
  parts: readonly UsagePart[],
): Promise<(ContainerUsage | undefined)[]> {
  return Promise.all(ids.map(id => usageOf(context, id, parts)));
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
