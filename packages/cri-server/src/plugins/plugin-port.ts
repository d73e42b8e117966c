import type { RuntimeResources, RuntimeSpec } from "@ocid/spec";

/** A pod, as plugins are told of it. */
export interface PluginPod {
  readonly id: string;
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
  /** Of the process that holds its namespaces. */
  readonly pid?: number | undefined;
  readonly ips: readonly string[];
  readonly cgroupParent: string;
  readonly cgroupsPath?: string | undefined;
  readonly namespaces: readonly { readonly type: string; readonly path: string }[];
  readonly overhead?: RuntimeResources | undefined;
  readonly resources?: RuntimeResources | undefined;
}

/** A container, as plugins are told of it. */
export interface PluginContainer {
  readonly id: string;
  readonly podId: string;
  readonly name: string;
  readonly state: "unknown" | "created" | "running" | "stopped";
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Its runtime configuration, with the limits that hold now. */
  readonly spec: RuntimeSpec;
  readonly pid?: number | undefined;
  /** Nanoseconds since the epoch. */
  readonly createdAtNs: bigint;
  readonly startedAtNs?: bigint | undefined;
  readonly finishedAtNs?: bigint | undefined;
  readonly exitCode?: number | undefined;
  readonly reason?: string | undefined;
  readonly cdiDevices?: readonly string[] | undefined;
  readonly seccompProfile?:
    | { readonly type: "runtime-default" | "unconfined" | "localhost"; readonly localhostRef?: string }
    | undefined;
  readonly image?:
    | { readonly name: string; readonly digest: string; readonly configDigest: string }
    | undefined;
}

/** A plugin's wish to change limits; only what is to change is named. */
export interface PluginUpdate {
  readonly containerId: string;
  readonly resources: RuntimeResources;
  readonly ignoreFailure: boolean;
}

/** What plugins want of containers. */
export interface PluginWishes {
  readonly updates: readonly PluginUpdate[];
  readonly evictions: readonly { readonly containerId: string; readonly reason: string }[];
}

export interface PluginHost {
  /**
   * All pods and containers that plugins have been asked or told about, and that have not ended. Which these are is
   * settled before it first gives way.
   */
  state(): Promise<{
    readonly pods: readonly PluginPod[];
    readonly containers: readonly PluginContainer[];
  }>;
  /** Carries wishes out; returns the updates that failed. */
  fulfil(wishes: PluginWishes): Promise<readonly PluginUpdate[]>;
}

/** Plugins that see and adjust pods and containers, as the Node Resource Interface has them. */
export interface PluginPort {
  /** Whether anybody wants to know; while not, nothing below is called. */
  readonly active: boolean;
  start(host: PluginHost): Promise<void>;
  /** Rejects when a plugin objects. */
  podEvent(event: "run" | "postUpdate" | "stop" | "remove", pod: PluginPod): Promise<void>;
  /** Before a pod's limits change. */
  updatePod(
    pod: PluginPod,
    limits: { readonly overhead?: RuntimeResources; readonly resources?: RuntimeResources },
  ): Promise<void>;
  /** The container's configuration as plugins want it. Rejects when one objects, or two want different things. */
  createContainer(
    pod: PluginPod,
    container: PluginContainer,
    options: { readonly injectDevices: (spec: RuntimeSpec, names: readonly string[]) => RuntimeSpec },
  ): Promise<PluginWishes & { readonly spec: RuntimeSpec }>;
  containerEvent(
    event: "postCreate" | "start" | "postStart" | "postUpdate" | "remove",
    pod: PluginPod,
    container: PluginContainer,
  ): Promise<void>;
  /** The new limits as plugins want them. */
  updateContainer(
    pod: PluginPod,
    container: PluginContainer,
    resources: RuntimeResources,
  ): Promise<PluginWishes & { readonly resources: RuntimeResources }>;
  stopContainer(pod: PluginPod, container: PluginContainer): Promise<PluginWishes>;
}
