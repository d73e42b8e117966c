import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ContainerMetricsSchema, MetricDescriptorSchema, PodSandboxMetricsSchema } from "@ocid/cri-api";
import { mapAhead } from "../ahead.ts";
import type { Container, Sandbox } from "../records.ts";
import { cgroupDirectory } from "../runtime-config/cgroup-path.ts";
import { nowNs, type ServerContext } from "../server-context.ts";
import { isRunning, looksAtOnce, unlessGone } from "../stats/container-stats.ts";
import { interfacesOf } from "../stats/sandbox-stats.ts";
import { containerMetrics } from "./container-metrics.ts";
import { descriptorOf, readMetrics } from "./metric.ts";
import { networkMetrics } from "./network-metrics.ts";

type PodMetrics = MessageInitShape<typeof PodSandboxMetricsSchema>;

export function metricDescriptors(): MessageInitShape<typeof MetricDescriptorSchema>[] {
  return [...containerMetrics, ...networkMetrics].map(descriptorOf);
}

/** Of pods that are ready, with their containers that run. */
export async function* listPodSandboxMetrics(
  context: ServerContext,
): AsyncGenerator<PodMetrics, void, undefined> {
  const ready = [...context.records.sandboxes.values()].filter(({ phase }) => phase === "ready");
  yield* mapAhead(ready, looksAtOnce, sandbox => podMetrics(context, sandbox));
}

async function podMetrics(context: ServerContext, sandbox: Sandbox): Promise<PodMetrics> {
  const { namespace = "", name = "" } = sandbox.config.metadata ?? {};
  const cgroup = cgroupDirectory(context.ports.node.cgroups().driver, sandbox.cgroupParent);
  // As cAdvisor labels the pause container, which a pod's network was counted for.
  const labels = ["POD", cgroup, "", sandbox.id, namespace, name];
  const running = context.records.containersOf(sandbox.id).filter(isRunning);
  const containers = await Array.fromAsync(
    mapAhead(running, looksAtOnce, container => unlessGone(metricsOf(context, sandbox, container))),
  );
  return {
    podSandboxId: sandbox.id,
    metrics: readMetrics(networkMetrics, await interfacesOf(context, sandbox), labels, nowNs()),
    containerMetrics: containers.filter(metrics => metrics !== undefined),
  };
}

async function metricsOf(
  { ports }: ServerContext,
  sandbox: Sandbox,
  container: Container,
): Promise<MessageInitShape<typeof ContainerMetricsSchema>> {
  const measured = await ports.runtime.measure(container.id);
  const layer = await ports.rootfs.usage(container.id);
  const filesystem = await ports.node.filesystem(layer.mountpoint);
  const { namespace = "", name = "" } = sandbox.config.metadata ?? {};
  const { metadata, image } = container.config;
  const labels = [
    metadata?.name ?? "",
    measured.cgroupPath,
    image?.userSpecifiedImage || image?.image || "",
    container.id,
    namespace,
    name,
  ];
  const sample = {
    ...measured,
    startedAtNs: container.startedAtNs,
    nowNs: nowNs(),
    filesystem: { ...filesystem, usedBytes: BigInt(layer.bytes) },
  };
  return {
    containerId: container.id,
    metrics: readMetrics(containerMetrics, sample, labels, sample.usage.timestampNs),
  };
}
