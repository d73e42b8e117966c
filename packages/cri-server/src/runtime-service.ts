import {
  CgroupDriver,
  ContainerEventType,
  ContainerSchema,
  ContainerStatsResponseSchema,
  EncodedMessage,
  type HandlersOf,
  PodSandboxMetricsSchema,
  PodSandboxSchema,
  type RuntimeService,
} from "@ocid/cri-api";
import type { StreamingServer } from "@ocid/streaming";
import { checkpointContainer } from "./checkpoint/checkpoint-container.ts";
import { createContainer } from "./container-create.ts";
import { type ContainerEvents, tellEnd } from "./container-events.ts";
import { removeContainer, startContainer, stopContainer } from "./container-remove.ts";
import { updateContainerResources } from "./container-resources.ts";
import {
  containerMessage,
  containerStatusResponse,
  listContainers,
  listedContainers,
} from "./container-status.ts";
import { embed } from "./embed.ts";
import { execSync } from "./exec-sync.ts";
import { inChunks, inEncodedChunks } from "./in-chunks.ts";
import { listPodSandboxMetrics, metricDescriptors } from "./metrics/sandbox-metrics.ts";
import { nodeStatus } from "./node-status.ts";
import type { CallOptions } from "./ports.ts";
import type { Container, Sandbox } from "./records.ts";
import { updateSandboxResources } from "./sandbox-resources.ts";
import { runSandbox } from "./sandbox-run.ts";
import { listedSandboxes, listSandboxes, podSandboxStatus, sandboxMessage } from "./sandbox-status.ts";
import { removeSandbox, stopSandbox } from "./sandbox-stop.ts";
import type { ServerContext } from "./server-context.ts";
import type { Statistics } from "./stats/statistics.ts";
import { issueAttach, issueExec, issuePortForward } from "./streaming-requests.ts";

/** The CRI's runtime calls. */
export function runtimeHandlers(
  context: ServerContext,
  events: ContainerEvents,
  streaming: StreamingServer,
  statistics: Statistics,
): HandlersOf<typeof RuntimeService> {
  const { ports, records } = context;
  const stopPod = async (id: string, options: CallOptions) => {
    const sandbox = records.findSandbox(id);
    const wasReady = sandbox?.phase === "ready";
    await stopSandbox(context, id, options);
    if (sandbox && wasReady)
      await events.publishSandbox(context, sandbox, ContainerEventType.CONTAINER_STOPPED_EVENT);
  };
  const remove = async (id: string) => {
    const container = records.findContainer(id);
    if (!container || container.phase === "creating") return await removeContainer(context, id);
    // The end is told before the removal, also when the removal is what ends it.
    await context.locks.run(`events ${container.id}`, async () => {
      if (container.state.status === "running") {
        await stopContainer(context, container.id, 0n, {});
        await tellEnd(context, events, container);
      }
      await removeContainer(context, container.id);
      await events.publish(context, container, ContainerEventType.CONTAINER_DELETED_EVENT);
    });
  };
  return {
    async version() {
      return {
        version: "0.1.0",
        runtimeName: "ocid",
        runtimeVersion: context.version,
        runtimeApiVersion: "v1",
      };
    },
    status: request => nodeStatus(context, request),
    async runtimeConfig() {
      return {
        linux: {
          cgroupDriver:
            ports.node.cgroups().driver === "systemd" ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS,
        },
      };
    },

    async updateRuntimeConfig(request) {
      const podCidr = request.runtimeConfig?.networkConfig?.podCidr ?? "";
      if (podCidr !== "") await ports.network.configure(podCidr);
      return {};
    },

    async runPodSandbox(request, options) {
      const announce = (sandbox: Sandbox) =>
        events.publishSandbox(
          context,
          sandbox,
          ContainerEventType.CONTAINER_CREATED_EVENT,
          ContainerEventType.CONTAINER_STARTED_EVENT,
        );
      return { podSandboxId: await runSandbox(context, request, announce, options) };
    },
    async stopPodSandbox(request, options) {
      await stopPod(request.podSandboxId, options);
      return {};
    },
    async removePodSandbox(request, options) {
      const sandbox = records.findSandbox(request.podSandboxId);
      if (!sandbox) return {};
      await stopPod(sandbox.id, options);
      for (const container of records.containersOf(sandbox.id)) await remove(container.id);
      await removeSandbox(context, sandbox.id, options);
      await events.publishSandbox(context, sandbox, ContainerEventType.CONTAINER_DELETED_EVENT);
      return {};
    },
    async podSandboxStatus(request) {
      return await podSandboxStatus(context, request);
    },
    async updatePodSandboxResources(request) {
      await updateSandboxResources(context, request);
      return {};
    },
    async listPodSandbox(request) {
      return listSandboxes(context, request.filter);
    },
    async *streamPodSandboxes(request) {
      const all = listedSandboxes(context, request.filter).map(sandboxMessage);
      for await (const podSandboxes of inChunks(PodSandboxSchema, all)) yield { podSandboxes };
    },

    async createContainer(request, options) {
      const announce = (container: Container) =>
        events.publish(context, container, ContainerEventType.CONTAINER_CREATED_EVENT);
      return { containerId: await createContainer(context, request, announce, options) };
    },
    async startContainer(request, options) {
      const container = records.getContainer(request.containerId);
      // A short-lived container's end must not be told before its start.
      await context.locks.run(`events ${container.id}`, async () => {
        await startContainer(context, container.id, options);
        await events.publish(context, container, ContainerEventType.CONTAINER_STARTED_EVENT);
      });
      return {};
    },
    async stopContainer(request, options) {
      await stopContainer(context, request.containerId, request.timeout, options);
      return {};
    },
    async removeContainer(request) {
      await remove(request.containerId);
      return {};
    },
    async containerStatus(request) {
      return await containerStatusResponse(context, request);
    },
    async listContainers(request) {
      return listContainers(context, request.filter);
    },
    async *streamContainers(request) {
      const all = listedContainers(context, request.filter).map(containerMessage);
      for await (const containers of inChunks(ContainerSchema, all)) yield { containers };
    },
    async updateContainerResources(request, options) {
      await updateContainerResources(context, request, options);
      return {};
    },
    async checkpointContainer(request, options) {
      await checkpointContainer(context, request, options);
      return {};
    },
    async reopenContainerLog(request) {
      await ports.runtime.reopenLog(records.getContainer(request.containerId).id);
      return {};
    },
    async execSync(request, options) {
      return await execSync(context, request, options);
    },
    async exec(request) {
      return { url: await issueExec(context, streaming, request) };
    },
    async attach(request) {
      return { url: await issueAttach(context, streaming, request) };
    },
    async portForward(request) {
      return { url: issuePortForward(context, streaming, request) };
    },
    getContainerEvents: (_, { signal }) => events.listen(signal),

    async containerStats(request) {
      const container = records.getContainer(request.containerId);
      return statsMessage([await statistics.container(container)]);
    },
    async listContainerStats(request) {
      return statsMessage(await Array.fromAsync(statistics.listContainers(request.filter)));
    },
    async *streamContainerStats(request) {
      const all = statistics.listContainers(request.filter);
      for await (const chunk of inEncodedChunks(all)) yield statsMessage(chunk);
    },
    async podSandboxStats(request) {
      return statsMessage([await statistics.pod(records.getSandbox(request.podSandboxId))]);
    },
    async listPodSandboxStats(request) {
      return statsMessage(await Array.fromAsync(statistics.listPods(request.filter)));
    },
    async *streamPodSandboxStats(request) {
      const all = statistics.listPods(request.filter);
      for await (const chunk of inEncodedChunks(all)) yield statsMessage(chunk);
    },

    async listMetricDescriptors() {
      return { descriptors: metricDescriptors() };
    },
    async listPodSandboxMetrics() {
      return { podMetrics: await Array.fromAsync(listPodSandboxMetrics(context)) };
    },
    async *streamPodSandboxMetrics() {
      const all = listPodSandboxMetrics(context);
      for await (const podSandboxMetrics of inChunks(PodSandboxMetricsSchema, all))
        yield { podSandboxMetrics };
    },
  };
}

/** All answers with statistics have one field, with the same number. */
function statsMessage(stats: readonly Uint8Array[]): EncodedMessage {
  return new EncodedMessage(embed(ContainerStatsResponseSchema.field.stats.number, stats));
}
