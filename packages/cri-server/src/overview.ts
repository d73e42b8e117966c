import { setImmediate as turn } from "node:timers/promises";
import { messageOf } from "@ocid/base";
import type { ContainerEvents, NodeEvent } from "./container-events.ts";
import type { ContainerUsage, NetworkInterfaceUsage } from "./ports.ts";
import type { Container, Sandbox } from "./records.ts";
import type { ServerContext } from "./server-context.ts";
import { isRunning, usageOf } from "./stats/container-stats.ts";
import { interfacesOf } from "./stats/sandbox-stats.ts";

export interface PodOverview {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly phase: Sandbox["phase"];
  readonly createdAt: Date;
  readonly ips: readonly string[];
  /** Runtime handler; empty is the default one. */
  readonly handler: string;
}

export interface ContainerOverview {
  readonly id: string;
  readonly podId: string;
  readonly name: string;
  /** As the pod names it. */
  readonly image: string;
  readonly state: "created" | "running" | "stopped" | "unknown";
  /** When it came into that state, where it is known. */
  readonly since: Date | undefined;
  /** Of one that has stopped. */
  readonly exitCode?: number;
  readonly oomKilled?: boolean;
}

/** Counters of what runs, by id of the container, and of the pod for its network. */
export interface UsageOverview {
  readonly containers: ReadonlyMap<string, ContainerUsage>;
  readonly networks: ReadonlyMap<string, readonly NetworkInterfaceUsage[]>;
}

/**
 * What there is on the node, for a program that shows it to people: without environment, arguments, labels and
 * annotations, which may hold secrets.
 */
export interface Overview {
  /** As they are remembered, without a look at the disk; those that are being made are left out. */
  pods(): readonly PodOverview[];
  containers(): readonly ContainerOverview[];
  usage(): Promise<UsageOverview>;
  /** Why no pod can be made, each undefined where one can: the runtime, the network. */
  conditions(): Promise<{ readonly runtime: string | undefined; readonly network: string | undefined }>;
  /** Calls back with each event from now on until disposed of. */
  follow(follower: (event: NodeEvent) => void): Disposable;
}

export function overview(context: ServerContext, events: ContainerEvents): Overview {
  const { records, ports } = context;
  return {
    pods: () => [...records.sandboxes.values()].filter(({ phase }) => phase !== "creating").map(podOverview),
    containers: () =>
      [...records.containers.values()].filter(({ phase }) => phase === "created").map(containerOverview),
    async usage() {
      const running = [...records.containers.values()].filter(isRunning);
      const ready = [...records.sandboxes.values()].filter(({ phase }) => phase === "ready");
      const containers = new Map<string, ContainerUsage>();
      for (const { id } of running) {
        const usage = await usageOf(context, id);
        if (usage) containers.set(id, usage);
        // The kernel's files are read at once; many containers are not to hold the event loop.
        await turn();
      }
      const networks = new Map<string, readonly NetworkInterfaceUsage[]>();
      for (const pod of ready) {
        const interfaces = await interfacesOf(context, pod);
        if (interfaces.length > 0) networks.set(pod.id, interfaces);
      }
      return { containers, networks };
    },
    async conditions() {
      const failure = (look: Promise<unknown>) => look.then(() => undefined, messageOf);
      return {
        runtime: await failure(ports.runtime.version()),
        network: await failure(ports.network.status()),
      };
    },
    follow: follower => events.follow(follower),
  };
}

function podOverview({ id, config, phase, createdAtNs, ips, handler }: Sandbox): PodOverview {
  const { name = "", namespace = "" } = config.metadata ?? {};
  return {
    ...{ id, name, namespace, phase, handler },
    createdAt: dateOf(createdAtNs),
    ips: phase === "ready" ? ips : [],
  };
}

function containerOverview(container: Container): ContainerOverview {
  const { id, sandboxId, config, state, createdAtNs, startedAtNs } = container;
  const since = {
    created: createdAtNs,
    running: startedAtNs,
    stopped: state.status === "stopped" ? state.finishedAtNs : 0n,
    unknown: 0n,
  }[state.status];
  return {
    id,
    podId: sandboxId,
    name: config.metadata?.name ?? "",
    image: config.image?.userSpecifiedImage || config.image?.image || "",
    state: state.status,
    since: since === 0n ? undefined : dateOf(since),
    ...(state.status === "stopped" ? { exitCode: state.exitCode, oomKilled: state.oomKilled } : {}),
  };
}

function dateOf(ns: bigint): Date {
  return new Date(Number(ns / 1_000_000n));
}
