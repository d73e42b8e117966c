import type { PodSandboxMetrics, PodSandboxStats } from "@ocid/cri-api";
import type { runtimeClient } from "../global-options.ts";

/** Counters of a pod at one moment; those that grow are since its start. */
export interface PodCounters {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  /** When the CPU was read, and what it had used, in nanoseconds. */
  readonly timeNs: bigint;
  readonly cpuNs: bigint;
  readonly memoryBytes: number;
  /** Read and written on block devices. */
  readonly ioBytes: number;
  /** Received and sent. */
  readonly networkBytes: number;
}

export async function readCounters(
  client: Awaited<ReturnType<typeof runtimeClient>>,
): Promise<readonly PodCounters[]> {
  const [{ stats }, { podMetrics }] = await Promise.all([
    client.listPodSandboxStats({}),
    client.listPodSandboxMetrics({}),
  ]);
  const metrics = new Map(podMetrics.map(pod => [pod.podSandboxId, pod]));
  return stats.map(pod => countersOf(pod, metrics.get(pod.attributes?.id ?? "")));
}

function countersOf(
  { attributes, linux }: PodSandboxStats,
  metrics: PodSandboxMetrics | undefined,
): PodCounters {
  const network = linux?.network?.defaultInterface;
  return {
    id: attributes?.id ?? "",
    name: attributes?.metadata?.name ?? "",
    namespace: attributes?.metadata?.namespace ?? "",
    timeNs: linux?.cpu?.timestamp ?? 0n,
    cpuNs: linux?.cpu?.usageCoreNanoSeconds?.value ?? 0n,
    memoryBytes: Number(linux?.memory?.workingSetBytes?.value ?? 0n),
    ioBytes: blockBytes(metrics),
    networkBytes: Number((network?.rxBytes?.value ?? 0n) + (network?.txBytes?.value ?? 0n)),
  };
}

/** The CRI's statistics have no block devices; its metrics have them for each container. */
function blockBytes(pod: PodSandboxMetrics | undefined): number {
  return (pod?.containerMetrics ?? [])
    .flatMap(({ metrics }) => metrics)
    .filter(({ name }) => /^container_fs_(reads|writes)_bytes_total$/.test(name))
    .reduce((sum, { value }) => sum + Number(value?.value ?? 0n), 0);
}
