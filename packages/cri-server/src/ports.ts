import type { ImageConfig, RuntimeProcess, RuntimeResources, RuntimeSpec } from "@ocid/spec";
import type { SessionStreams } from "@ocid/streaming";
import type { NodePort } from "./node-port.ts";
import type { PluginPort } from "./plugins/plugin-port.ts";
import type { PodIdMappings } from "./runtime-config/user-namespace.ts";
import type { ContainerMeasurements, ContainerUsage, UsagePart } from "./usage-port.ts";

export type * from "./node-port.ts";
export type * from "./usage-port.ts";

/** What every call of a port takes: cancelled calls leave nothing behind. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** When the caller stops waiting, in milliseconds since the epoch. */
  readonly deadlineMs?: number | undefined;
}

/** An image in the store, as the CRI speaks of it. */
export interface StoredImage {
  /** 64 hex characters: the digest of the config. */
  readonly id: string;
  /** `docker.io/library/busybox:latest` … */
  readonly repoTags: readonly string[];
  /** `docker.io/library/busybox@sha256:…` … */
  readonly repoDigests: readonly string[];
  readonly sizeBytes: number;
  readonly config: ImageConfig;
  readonly pinned: boolean;
  /** Of an artifact, which can be a volume but not run: its files by relative name, and where their bytes lie. */
  readonly files?: readonly { readonly title: string; readonly path: string }[];
  /** Of a checkpoint: the name of the container that it is of. Only `find` tells. */
  readonly checkpointOf?: string | undefined;
}

export interface PullCredentials {
  readonly username?: string;
  readonly password?: string;
  /** OAuth2 refresh token. */
  readonly identityToken?: string;
  /** Bearer token sent as it is. */
  readonly registryToken?: string;
  /** Host of the registry the credentials are for; empty means whichever the image names. */
  readonly serverAddress?: string;
}

export interface FilesystemUsage {
  readonly mountpoint: string;
  readonly usedBytes: number;
  readonly inodesUsed: number;
}

export interface ImagePort {
  list(options?: CallOptions): Promise<readonly StoredImage[]>;
  /** By name, by `repository@digest`, by id or by an id's unique prefix. */
  find(reference: string, options?: CallOptions): Promise<StoredImage | undefined>;
  pull(
    reference: string,
    options: CallOptions & {
      readonly credentials?: PullCredentials | undefined;
      /** Of the pod that it is for; empty when it is for none. */
      readonly namespace: string;
    },
  ): Promise<StoredImage>;
  /** Fails with PERMISSION_DENIED (`PolicyRejected`) unless the node's policy of now lets an image be used. */
  admit(
    image: StoredImage,
    use: CallOptions & {
      /** By which the pod asks for it; empty where that is unknown. */
      readonly name: string;
      readonly namespace: string;
    },
  ): Promise<void>;
  /** The same of a file on the node, an archive of a checkpoint, which has no signatures. */
  admitFile(path: string, use: CallOptions & { readonly namespace: string }): Promise<void>;
  /** Removes the image with all its names; what is gone already is no error, an image in use is FAILED_PRECONDITION. */
  remove(reference: string, options?: CallOptions): Promise<void>;
  usage(options?: CallOptions): Promise<{
    readonly images: readonly FilesystemUsage[];
    readonly containers: readonly FilesystemUsage[];
  }>;
}

/** Root file systems of containers: writable layers on top of images. */
export interface RootfsPort {
  /** Makes the writable layer; a repeat with the same id and image finds it. */
  create(
    request: {
      readonly id: string;
      readonly name: string;
      readonly imageId: string;
      /** Of a pod with a user namespace. */
      readonly idMappings?: PodIdMappings | undefined;
    },
    options?: CallOptions,
  ): Promise<void>;
  /** Mounts it (a repeat returns the mounted path) for as long as the container lives. */
  mount(
    id: string,
    options?: CallOptions & { readonly userNamespace?: string | undefined },
  ): Promise<{ readonly path: string }>;
  /** Unmounts what is mounted; a repeat is no error. */
  unmount(id: string, options?: CallOptions): Promise<void>;
  remove(id: string, options?: CallOptions): Promise<void>;
  /** Ids of all containers that this daemon made (their metadata says so), for recovery. */
  list(options?: CallOptions): Promise<readonly { readonly id: string; readonly metadata: string }[]>;
  /** Bytes and inodes of the writable layer. */
  usage(
    id: string,
    options?: CallOptions,
  ): Promise<{ readonly bytes: number; readonly inodes: number; readonly mountpoint: string }>;
  /** Writes what a container has added and changed as a tar file, and returns the paths that it has removed. */
  exportChanges(id: string, file: string, options?: CallOptions): Promise<readonly string[]>;
  /** Brings what `exportChanges` wrote of another container into a mounted one that does not run yet. */
  importChanges(
    id: string,
    changes: { readonly tar?: string | undefined; readonly removed: readonly string[] },
    options?: CallOptions,
  ): Promise<void>;
  /** Mounts an image read-only at a directory of its own, for image volumes; released by `owner`. */
  mountImage(
    request: {
      readonly imageId: string;
      readonly owner: string;
      /** With the ids of a pod's user namespace; both or none. */
      readonly idMappings?: PodIdMappings | undefined;
      readonly userNamespace?: string | undefined;
    },
    options?: CallOptions,
  ): Promise<{ readonly path: string }>;
  unmountImages(owner: string, options?: CallOptions): Promise<void>;
}

export interface RuntimeHandlerInfo {
  readonly name: string;
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
  /** Annotations that its containers may have: names, or beginnings with `*`. */
  readonly annotations: readonly string[];
}

export interface LaunchRequest {
  readonly id: string;
  /** Shown by ps in the monitor's arguments: `k8s_container_pod_…`. */
  readonly name: string;
  /** Name of a configured runtime; empty is the default one. */
  readonly runtimeHandler: string;
  readonly spec: RuntimeSpec;
  /** Absolute path of the CRI log; undefined throws the output away. */
  readonly logPath?: string | undefined;
  readonly stdin: boolean;
  /** Close the container's stdin when the first attached client closes its own. */
  readonly stdinOnce: boolean;
  /** Of one that is restored: the directory of criu's images, which has to stay until it was started. */
  readonly checkpoint?: string | undefined;
}

/** What the kernel, the runtime and the exit file say; never only remembered. */
export type RuntimeState =
  /** Without a process yet where it is to be restored from a checkpoint. */
  | { readonly status: "created"; readonly pid?: number | undefined }
  | { readonly status: "running"; readonly pid: number }
  /** Times are nanoseconds since the epoch. */
  | {
      readonly status: "stopped";
      readonly exitCode: number;
      readonly finishedAtNs: bigint;
      readonly oomKilled: boolean;
    }
  | { readonly status: "unknown" };

export interface ExitEvent {
  readonly id: string;
  readonly exitCode: number;
  readonly finishedAtNs: bigint;
  readonly oomKilled: boolean;
}

export interface RuntimePort {
  /** The configured handlers, the default one by the empty name too. */
  handlers(): Promise<readonly RuntimeHandlerInfo[]>;
  version(handler?: string): Promise<{ readonly name: string; readonly version: string }>;
  /** FAILED_PRECONDITION with the reason where this node cannot restore containers with a handler. */
  checkRestore(handler: string, options?: CallOptions): Promise<void>;
  /** Bundle, monitor and runtime create; a failure leaves nothing. What is to be restored has no process yet. */
  create(request: LaunchRequest, options?: CallOptions): Promise<{ readonly pid?: number | undefined }>;
  /** A failure to restore leaves it created, and no process of it. */
  start(id: string, options?: CallOptions): Promise<void>;
  state(id: string, options?: CallOptions): Promise<RuntimeState>;
  /** Sends `stopSignal`, waits up to `timeoutMs`, then kills all processes; returns when the container is stopped. */
  stop(
    id: string,
    request: { readonly stopSignal: string; readonly timeoutMs: number },
    options?: CallOptions,
  ): Promise<void>;
  /**
   * Writes the state of a running container's processes below `directory`: `checkpoint`, `dump.log`, `stats-dump`. The
   * container stands still until `then` has ended, and goes on. FAILED_PRECONDITION where the node cannot, or it does
   * not run.
   */
  checkpoint(
    id: string,
    request: { readonly directory: string; readonly then: () => Promise<void> },
    options?: CallOptions,
  ): Promise<void>;
  /** The configuration that the container was created with. */
  specOf(id: string): Promise<RuntimeSpec>;
  /** Removes container, monitor, cgroup and bundle, killing what runs; a repeat is no error. */
  remove(id: string, options?: CallOptions): Promise<void>;
  /** Ids of everything that the shim has on disk, for recovery. */
  list(): Promise<readonly string[]>;
  execSync(
    id: string,
    request: { readonly process: RuntimeProcess; readonly timeoutMs: number },
    options?: CallOptions,
  ): Promise<{ readonly stdout: Uint8Array; readonly stderr: Uint8Array; readonly exitCode: number }>;
  /** Runs a process with streams to its end; an aborted signal kills it. */
  exec(
    id: string,
    process: RuntimeProcess,
    streams: SessionStreams,
    options?: CallOptions,
  ): Promise<{ readonly exitCode: number }>;
  /** Joins the container's own streams until it ends or the signal is aborted. */
  attach(id: string, streams: SessionStreams, options?: CallOptions): Promise<void>;
  reopenLog(id: string, options?: CallOptions): Promise<void>;
  updateResources(id: string, resources: RuntimeResources, options?: CallOptions): Promise<void>;
  /** FAILED_PRECONDITION when it has ended. `parts`: what is told beyond CPU, memory, swap and pressure; default: all. */
  usage(
    id: string,
    options?: CallOptions & { readonly parts?: readonly UsagePart[] },
  ): Promise<ContainerUsage>;
  /** FAILED_PRECONDITION when it has ended. */
  measure(id: string, options?: CallOptions): Promise<ContainerMeasurements>;
  /** The process environment, user and so on that the container was created with, to base an exec on. */
  processOf(id: string): Promise<RuntimeProcess>;
  /** Exits as they happen, from exit files and without polling; ends with the signal. */
  exits(options: CallOptions): AsyncIterable<ExitEvent>;
}

export interface NetworkRequest {
  readonly sandboxId: string;
  readonly netnsPath: string;
  readonly podName: string;
  readonly podNamespace: string;
  readonly podUid: string;
  readonly portMappings: readonly {
    readonly hostPort: number;
    readonly containerPort: number;
    readonly protocol: "tcp" | "udp" | "sctp";
    readonly hostIP?: string;
  }[];
  readonly dns?: {
    readonly servers: readonly string[];
    readonly searches: readonly string[];
    readonly options: readonly string[];
  };
  readonly cgroupPath?: string;
}

export interface NetworkPort {
  /** Rejects with what is missing when no pod can be given a network. */
  status(options?: CallOptions): Promise<void>;
  /** Tells the pods' address ranges, `10.0.0.0/16,fd00::/64`; INVALID_ARGUMENT for what is none. */
  configure(podCidr: string): Promise<void>;
  add(
    request: NetworkRequest,
    options?: CallOptions & {
      /** Called with the path of each plugin before it runs. */
      readonly progress?: ((plugin: string) => void) | undefined;
    },
  ): Promise<{ readonly ips: readonly string[] }>;
  /** Tolerates what is gone: namespace, plugin state, configuration (the cached one is used). */
  remove(request: NetworkRequest, options?: CallOptions): Promise<void>;
}

/** Everything that the CRI server stands on; the application fits the parts together. */
export interface Ports {
  readonly images: ImagePort;
  readonly rootfs: RootfsPort;
  readonly runtime: RuntimePort;
  readonly node: NodePort;
  readonly network: NetworkPort;
  /** Undefined where there are to be no plugins. */
  readonly plugins?: PluginPort | undefined;
}
