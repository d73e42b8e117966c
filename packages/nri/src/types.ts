import type { Logger } from "@ocid/base";
import type { RuntimeResources, RuntimeSpec } from "@ocid/spec";

/** A pod, as plugins are told of it. */
export interface NriPod {
  readonly id: string;
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
  /** Of the process that holds its namespaces; undefined where there is none. */
  readonly pid?: number | undefined;
  readonly ips: readonly string[];
  readonly cgroupParent: string;
  /** Of the process that holds its namespaces. */
  readonly cgroupsPath?: string | undefined;
  readonly namespaces: readonly { readonly type: string; readonly path: string }[];
  /** What the pod takes beside its containers. */
  readonly overhead?: RuntimeResources | undefined;
  /** The sum of its containers' limits. */
  readonly resources?: RuntimeResources | undefined;
}

/** A container, as plugins are told of it. */
export interface NriContainer {
  readonly id: string;
  readonly podId: string;
  readonly name: string;
  readonly state: "unknown" | "created" | "paused" | "running" | "stopped";
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
  readonly seccompProfile?: SeccompProfile | undefined;
  readonly image?:
    | { readonly name: string; readonly digest: string; readonly configDigest: string }
    | undefined;
}

/** What was asked for when the container's system calls were limited. */
export interface SeccompProfile {
  readonly type: "runtime-default" | "unconfined" | "localhost";
  readonly localhostRef?: string;
}

/** A wish of a plugin to change a container's limits; only what is to change is named. */
export interface ContainerUpdate {
  readonly containerId: string;
  readonly resources: RuntimeResources;
  /** Whether the request goes on when this cannot be done. */
  readonly ignoreFailure: boolean;
}

/** A wish of a plugin to have a container stopped. */
export interface ContainerEviction {
  readonly containerId: string;
  readonly reason: string;
}

/** What plugins want of other containers than the one that they were asked about. */
export interface Wishes {
  readonly updates: readonly ContainerUpdate[];
  readonly evictions: readonly ContainerEviction[];
}

export interface CreateResult extends Wishes {
  /** The configuration with all adjustments; the same value when there is none. */
  readonly spec: RuntimeSpec;
}

export interface UpdateResult extends Wishes {
  /** The limits that the container is to get. */
  readonly resources: RuntimeResources;
}

/** Events that ask for nothing back. */
export type PodEvent = "run" | "postUpdate" | "stop" | "remove";
export type ContainerEvent = "postCreate" | "start" | "postStart" | "postUpdate" | "remove";

export interface NriState {
  readonly pods: readonly NriPod[];
  readonly containers: readonly NriContainer[];
}

/** What the runtime does for plugins. */
export interface NriHost {
  /**
   * All pods and containers whose first event (`run`, `createContainer`) has been given away before this is called, and
   * no others: the plugin that is synchronized with them gets all events that come after. Which ones they are must be
   * settled before it first gives way.
   */
  state(): Promise<NriState>;
  /** Carries wishes out; returns those updates that failed, and never rejects for them. */
  fulfil(wishes: Wishes): Promise<readonly ContainerUpdate[]>;
}

/** Adjustments that are refused whoever wants them (the "default validator"). */
export interface ValidatorOptions {
  readonly rejectHooks?: boolean;
  readonly rejectNamespaces?: boolean;
  readonly rejectSysctls?: boolean;
  /** Of containers whose seccomp profile is one of these. */
  readonly rejectSeccomp?: readonly SeccompProfile["type"][];
  /** `name` or `index-name` of plugins without which no container is made. */
  readonly requiredPlugins?: readonly string[];
  /** Name of an annotation by which a pod goes without them: `true` of `NAME`, `NAME/pod` or `NAME/container.CONTAINER`. */
  readonly tolerateMissingAnnotation?: string;
}

export interface NriOptions {
  /** Where plugins connect; undefined lets none connect. */
  readonly socketPath?: string | undefined;
  /** Programs `NN-name` here are started as plugins. */
  readonly pluginPath?: string | undefined;
  /** `NN-name.conf` and `name.conf` here are given to plugins as their configuration. */
  readonly pluginConfigPath?: string | undefined;
  /** Time that a plugin has to register, and for each part of its synchronization. Default 5 s. */
  readonly registrationTimeoutMs?: number;
  /** Time that a plugin has for any request; one that takes longer is cut off. Default 2 s. */
  readonly requestTimeoutMs?: number;
  /** Adjustments that are refused whoever wants them; undefined refuses none. */
  readonly validator?: ValidatorOptions | undefined;
  /** Told to plugins. */
  readonly runtime: { readonly name: string; readonly version: string };
  readonly logger?: Logger;
}
