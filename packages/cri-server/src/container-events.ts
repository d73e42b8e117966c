import type { MessageInitShape } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import { type ContainerEventResponseSchema, ContainerEventType } from "@ocid/cri-api";
import { readContainerState } from "./container-state.ts";
import { containerStatus } from "./container-status.ts";
import { tellOfEnd } from "./plugins/container-events.ts";
import type { Container, Sandbox } from "./records.ts";
import { sandboxStatus } from "./sandbox-status.ts";
import { nowNs, type ServerContext } from "./server-context.ts";

type Event = MessageInitShape<typeof ContainerEventResponseSchema>;

interface Listener {
  readonly waiting: Event[];
  wake: (() => void) | undefined;
  tooSlow: boolean;
}

/** What has happened to a pod or a container, in a few words, for people. */
export interface NodeEvent {
  readonly at: Date;
  readonly what: "created" | "started" | "stopped" | "removed";
  /** Of the container; undefined for what has happened to the pod itself. */
  readonly container: string | undefined;
  readonly pod: string;
  readonly namespace: string;
  /** Of a container that has stopped. */
  readonly exitCode?: number;
  readonly oomKilled?: boolean;
}

/** Events that wait for one listener at most; each may hold the statuses of a whole pod. */
const maxWaiting = 1000;

/**
 * Tells every listener what happens to containers and sandboxes, with the state of the whole pod, as the kubelet's
 * evented PLEG wants it. A listener that does not keep up is told so and ends; it has to list anew.
 */
export class ContainerEvents {
  readonly #listeners = new Set<Listener>();
  readonly #followers = new Set<(event: NodeEvent) => void>();

  /** How many events wait for listeners, all together. */
  get waiting(): number {
    return [...this.#listeners].reduce((sum, { waiting }) => sum + waiting.length, 0);
  }

  async publish(context: ServerContext, container: Container, type: ContainerEventType): Promise<void> {
    const sandbox = context.records.sandboxes.get(container.sandboxId);
    this.#tellFollowers(type, sandbox, container);
    await this.#publish(context, container.id, sandbox, type);
  }

  /** A sandbox is to the kubelet a container by the sandbox's id. */
  async publishSandbox(
    context: ServerContext,
    sandbox: Sandbox,
    ...types: readonly ContainerEventType[]
  ): Promise<void> {
    for (const type of types) {
      this.#tellFollowers(type, sandbox, undefined);
      await this.#publish(context, sandbox.id, sandbox, type);
    }
  }

  /** Calls back with each event from now on, as it happens, until disposed of. */
  follow(follower: (event: NodeEvent) => void): Disposable {
    this.#followers.add(follower);
    return { [Symbol.dispose]: () => void this.#followers.delete(follower) };
  }

  #tellFollowers(
    type: ContainerEventType,
    sandbox: Sandbox | undefined,
    container: Container | undefined,
  ): void {
    const { name = "", namespace = "" } = sandbox?.config.metadata ?? {};
    const end = container?.state.status === "stopped" ? container.state : undefined;
    const event: NodeEvent = {
      at: new Date(),
      what: words[type],
      container: container && (container.config.metadata?.name ?? ""),
      pod: name,
      namespace,
      ...(end && words[type] === "stopped" ? { exitCode: end.exitCode, oomKilled: end.oomKilled } : {}),
    };
    for (const follower of this.#followers) follower(event);
  }

  async #publish(
    context: ServerContext,
    id: string,
    sandbox: Sandbox | undefined,
    type: ContainerEventType,
  ): Promise<void> {
    if (this.#listeners.size === 0) return;
    const createdAt = nowNs();
    const containers = context.records
      .containersOf(sandbox?.id ?? "")
      .filter(container => container.phase === "created");
    const statuses = await Promise.all(
      containers.map(container => containerStatus(context, container).catch(() => undefined)),
    );
    const event: Event = {
      containerId: id,
      containerEventType: type,
      createdAt,
      ...(sandbox ? { podSandboxStatus: sandboxStatus(sandbox) } : {}),
      containersStatuses: statuses.filter(status => status !== undefined),
    };
    for (const listener of this.#listeners) this.#tell(listener, event);
  }

  #tell(listener: Listener, event: Event): void {
    if (listener.waiting.length >= maxWaiting) {
      listener.waiting.length = 0;
      listener.tooSlow = true;
      this.#listeners.delete(listener);
    } else listener.waiting.push(event);
    listener.wake?.();
  }

  /** Events from now on, until the signal. RESOURCE_EXHAUSTED when more than 1000 wait to be taken. */
  listen(signal: AbortSignal): AsyncGenerator<Event, void, undefined> {
    const listener: Listener = { waiting: [], wake: undefined, tooSlow: false };
    this.#listeners.add(listener);
    return this.#follow(listener, signal);
  }

  async *#follow(listener: Listener, signal: AbortSignal): AsyncGenerator<Event, void, undefined> {
    const abort = () => listener.wake?.();
    signal.addEventListener("abort", abort, { once: true });
    try {
      while (!signal.aborted) {
        if (listener.tooSlow)
          throw new OcidError(
            "RESOURCE_EXHAUSTED",
            `more than ${maxWaiting} events were waiting to be taken; list what there is, and listen again`,
          );
        const next = listener.waiting.shift();
        if (next) yield next;
        else
          await new Promise<void>(resolve => {
            listener.wake = resolve;
          });
      }
    } finally {
      this.#listeners.delete(listener);
      signal.removeEventListener("abort", abort);
    }
  }
}

const words: Readonly<Record<ContainerEventType, NodeEvent["what"]>> = {
  [ContainerEventType.CONTAINER_CREATED_EVENT]: "created",
  [ContainerEventType.CONTAINER_STARTED_EVENT]: "started",
  [ContainerEventType.CONTAINER_STOPPED_EVENT]: "stopped",
  [ContainerEventType.CONTAINER_DELETED_EVENT]: "removed",
};

/** Notes that a container has ended and tells of it, once, whoever sees it first. */
export async function tellEnd(
  context: ServerContext,
  events: ContainerEvents,
  container: Container,
): Promise<void> {
  if (container.endTold) return;
  const state = await readContainerState(context, container);
  if (state.status !== "stopped") return;
  container.endTold = true;
  container.state = state;
  context.onContainerEnd({ id: container.id, oomKilled: state.oomKilled });
  await tellOfEnd(context, container);
  await events.publish(context, container, ContainerEventType.CONTAINER_STOPPED_EVENT);
}
