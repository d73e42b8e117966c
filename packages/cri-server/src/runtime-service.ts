import { messageOf } from "@ocid/base";
import { CgroupDriver, ContainerEventType, type HandlersOf, type RuntimeService } from "@ocid/cri-api";
import type { StreamingServer } from "@ocid/streaming";
import { createContainer } from "./container-create.ts";
import type { ContainerEvents } from "./container-events.ts";
import { removeContainer, startContainer, stopContainer } from "./container-remove.ts";
import { updateContainerResources } from "./container-resources.ts";
import { containerStatusResponse, listContainers } from "./container-status.ts";
import { execSync } from "./exec-sync.ts";
import type { Container } from "./records.ts";
import { runSandbox } from "./sandbox-run.ts";
import { listSandboxes, podSandboxStatus } from "./sandbox-status.ts";
import { removeSandbox, stopSandbox } from "./sandbox-stop.ts";
import type { ServerContext } from "./server-context.ts";
import { containerStats, listContainerStats, listPodSandboxStats, podSandboxStats } from "./stats.ts";
import { issueAttach, issueExec, issuePortForward } from "./streaming-requests.ts";

/** Calls that this server does not answer yet; each says so by name. */
type Missing =
  | "updateRuntimeConfig"
  | "checkpointContainer"
  | "listMetricDescriptors"
  | "listPodSandboxMetrics"
  | "streamPodSandboxMetrics"
  | "updatePodSandboxResources";

/** The CRI's runtime calls. */
export function runtimeHandlers(
  context: ServerContext,
  events: ContainerEvents,
  streaming: StreamingServer,
): Omit<HandlersOf<typeof RuntimeService>, Missing> {
  const { ports, records } = context;
  return {
    async version() {
      return {
        version: "0.1.0",
        runtimeName: "ocid",
        runtimeVersion: context.version,
        runtimeApiVersion: "v1",
      };
    },
    async status(request) {
      const network = await ports.network.status().then(
        () => undefined,
        error => messageOf(error),
      );
      const runtime = await ports.runtime
        .version()
        .catch(error => ({ name: "", version: "", error: messageOf(error) }));
      const broken = "error" in runtime ? runtime.error : undefined;
      return {
        status: {
          conditions: [
            {
              type: "RuntimeReady",
              status: broken === undefined,
              reason: broken === undefined ? "" : "RuntimeNotReady",
              message: broken ?? "",
            },
            {
              type: "NetworkReady",
              status: network === undefined,
              reason: network === undefined ? "" : "NetworkPluginNotReady",
              message: network ?? "",
            },
          ],
        },
        runtimeHandlers: (await ports.runtime.handlers()).map(handler => ({
          name: handler.name,
          features: {
            recursiveReadOnlyMounts: handler.recursiveReadOnlyMounts,
            userNamespaces: handler.userNamespaces,
          },
        })),
        features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: true },
        info: request.verbose ? { config: JSON.stringify({ runtime, cgroups: ports.node.cgroups() }) } : {},
      };
    },
    async runtimeConfig() {
      return {
        linux: {
          cgroupDriver:
            ports.node.cgroups().driver === "systemd" ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS,
        },
      };
    },

    async runPodSandbox(request, options) {
      return { podSandboxId: await runSandbox(context, request, options) };
    },
    async stopPodSandbox(request, options) {
      await stopSandbox(context, request.podSandboxId, options);
      return {};
    },
    async removePodSandbox(request, options) {
      await removeSandbox(context, request.podSandboxId, options);
      return {};
    },
    async podSandboxStatus(request) {
      return await podSandboxStatus(context, request);
    },
    async listPodSandbox(request) {
      return { items: [...listSandboxes(context, request)] };
    },
    async *streamPodSandboxes(request) {
      yield { podSandboxes: [...listSandboxes(context, request)] };
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
      const container = records.findContainer(request.containerId);
      await removeContainer(context, request.containerId);
      if (container) await events.publish(context, container, ContainerEventType.CONTAINER_DELETED_EVENT);
      return {};
    },
    async containerStatus(request) {
      return await containerStatusResponse(context, request);
    },
    async listContainers(request) {
      return { containers: [...listContainers(context, request.filter)] };
    },
    async *streamContainers(request) {
      yield { containers: [...listContainers(context, request.filter)] };
    },
    async updateContainerResources(request, options) {
      await updateContainerResources(context, request, options);
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
      return { stats: await containerStats(context, records.getContainer(request.containerId)) };
    },
    async listContainerStats(request) {
      return { stats: [...(await listContainerStats(context, request.filter))] };
    },
    async *streamContainerStats(request) {
      yield { containerStats: [...(await listContainerStats(context, request.filter))] };
    },
    async podSandboxStats(request) {
      return { stats: await podSandboxStats(context, records.getSandbox(request.podSandboxId)) };
    },
    async listPodSandboxStats(request) {
      return { stats: [...(await listPodSandboxStats(context, request.filter))] };
    },
    async *streamPodSandboxStats(request) {
      yield { podSandboxStats: [...(await listPodSandboxStats(context, request.filter))] };
    },
  };
}
