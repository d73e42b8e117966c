import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type EncodedMessage,
  ListPodSandboxResponseSchema,
  type PodSandboxFilter,
  type PodSandboxSchema,
  PodSandboxState,
  type PodSandboxStatusRequest,
  type PodSandboxStatusResponseSchema,
  type PodSandboxStatusSchema,
} from "@ocid/cri-api";
import { containerStatus } from "./container-status.ts";
import { EncodedEntries } from "./encoded-entries.ts";
import type { Sandbox } from "./records.ts";
import { nowNs, type ServerContext } from "./server-context.ts";

export function sandboxState(sandbox: Sandbox): PodSandboxState {
  return sandbox.phase === "ready" ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}

export function sandboxStatus(sandbox: Sandbox): MessageInitShape<typeof PodSandboxStatusSchema> {
  const { config } = sandbox;
  const [ip = "", ...more] = sandbox.phase === "ready" ? sandbox.ips : [];
  const options = config.linux?.securityContext?.namespaceOptions;
  return {
    id: sandbox.id,
    ...(config.metadata ? { metadata: config.metadata } : {}),
    state: sandboxState(sandbox),
    createdAt: sandbox.createdAtNs,
    network: { ip, additionalIps: more.map(address => ({ ip: address })) },
    linux: { namespaces: { options: options ?? {} } },
    labels: config.labels,
    annotations: config.annotations,
    runtimeHandler: sandbox.handler,
  };
}

export async function podSandboxStatus(
  context: ServerContext,
  request: PodSandboxStatusRequest,
): Promise<MessageInitShape<typeof PodSandboxStatusResponseSchema>> {
  const sandbox = context.records.getSandbox(request.podSandboxId);
  const containers = context.records
    .containersOf(sandbox.id)
    .filter(container => container.phase === "created");
  return {
    status: sandboxStatus(sandbox),
    containersStatuses: await Promise.all(containers.map(container => containerStatus(context, container))),
    timestamp: nowNs(),
    info: request.verbose ? { info: verbose(context, sandbox) } : {},
  };
}

/** What `crictl inspectp` shows beside the status. */
function verbose(context: ServerContext, sandbox: Sandbox): string {
  return JSON.stringify({
    directory: context.records.sandboxDirectory(sandbox.id),
    cgroupParent: sandbox.cgroupParent,
    namespaces: sandbox.namespaces,
    pauseContainer: sandbox.pauseId,
    runtimeHandler: sandbox.handler,
  });
}

export function listedSandboxes(
  context: ServerContext,
  filter: PodSandboxFilter | undefined,
): readonly Sandbox[] {
  return [...context.records.sandboxes.values()].filter(
    sandbox => sandbox.phase !== "creating" && matches(sandbox, filter),
  );
}

/** What a list says of a pod. */
export function sandboxMessage(sandbox: Sandbox): MessageInitShape<typeof PodSandboxSchema> {
  return {
    id: sandbox.id,
    ...(sandbox.config.metadata ? { metadata: sandbox.config.metadata } : {}),
    state: sandboxState(sandbox),
    createdAt: sandbox.createdAtNs,
    labels: sandbox.config.labels,
    annotations: sandbox.config.annotations,
    runtimeHandler: sandbox.handler,
  };
}

const entries = new EncodedEntries(
  ListPodSandboxResponseSchema,
  (sandbox: Sandbox) => [sandbox.phase, sandbox.config],
  sandbox => ({ items: [sandboxMessage(sandbox)] }),
);

export function listSandboxes(context: ServerContext, filter: PodSandboxFilter | undefined): EncodedMessage {
  return entries.list(listedSandboxes(context, filter));
}

function matches(sandbox: Sandbox, filter: PodSandboxFilter | undefined): boolean {
  if (!filter) return true;
  if (!sandbox.id.startsWith(filter.id)) return false;
  if (filter.state && filter.state.state !== sandboxState(sandbox)) return false;
  return labelsMatch(sandbox.config.labels, filter.labelSelector);
}

export function labelsMatch(
  labels: Readonly<Record<string, string>>,
  selector: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}
