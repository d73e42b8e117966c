import type { Duplex } from "node:stream";
import type { RuntimeResources } from "@ocid/spec";
import type { CallOptions } from "./ports.ts";
import type { PodIdMappings } from "./runtime-config/user-namespace.ts";
import type { ContainerUsage, NetworkInterfaceUsage } from "./usage-port.ts";

export interface PodNamespaces {
  readonly net?: string;
  readonly ipc?: string;
  readonly uts?: string;
  readonly user?: string;
}

export interface NamespaceRequest {
  /** Directory in which the pins are made; must exist. */
  readonly directory: string;
  readonly net: boolean;
  readonly ipc: boolean;
  readonly uts: boolean;
  readonly hostname?: string;
  /** `net.*` and `kernel.*` keys with dots; written inside the new namespaces. */
  readonly sysctls: Readonly<Record<string, string>>;
  readonly userMappings?: PodIdMappings;
}

/** What a sandbox needs of the node itself. */
export interface NodePort {
  /** Pins new namespaces to files; loopback is up. */
  createNamespaces(request: NamespaceRequest, options?: CallOptions): Promise<PodNamespaces>;
  /** Unpins whatever is pinned below the directory; a repeat is no error. */
  removeNamespaces(directory: string): Promise<void>;
  mountTmpfs(request: {
    readonly path: string;
    readonly sizeBytes: number;
    readonly mode: number;
    readonly uid?: number;
    readonly gid?: number;
  }): Promise<void>;
  unmount(path: string): Promise<void>;
  /**
   * Makes what lies at `source`, with all that is mounted below it, appear at `target` with the ids of a user namespace;
   * `target` is made. FAILED_PRECONDITION when its file system cannot.
   */
  mountIdmapped(request: {
    readonly source: string;
    readonly target: string;
    readonly userNamespace: string;
  }): Promise<void>;
  /** Unmounts and removes everything that lies in a directory of such targets; a repeat is no error. */
  removeMounts(directory: string): Promise<void>;
  /** How the mount that a path lies on spreads (mount_namespaces(7), "Shared subtrees"). */
  propagationOf(
    path: string,
  ): Promise<{ readonly mountpoint: string; readonly shared: boolean; readonly slave: boolean }>;
  /** Where a path below a root really lies, symlinks followed as if the root were `/`; undefined where there is nothing. */
  resolveInRoot(root: string, path: string): Promise<string | undefined>;
  /** Reads a small file of a container's root file system, never outside of it; undefined where there is none. */
  readInRoot(root: string, path: string): Promise<string | undefined>;
  /** Connects to a TCP port inside a network namespace. */
  connectInNamespace(netnsPath: string, port: number, options?: CallOptions): Promise<Duplex>;
  /** Capabilities of this process's bounding set: `CAP_CHOWN` … */
  capabilities(): ReadonlySet<string>;
  /** Security modules that the kernel has switched on. */
  securityModules(): { readonly apparmor: boolean; readonly selinux: boolean };
  /** What cgroups offer: v1 controllers or unified ones; cri-server clamps and drops by it. */
  cgroups(): {
    readonly version: 1 | 2;
    readonly driver: "cgroupfs" | "systemd";
    readonly hugetlb: boolean;
    readonly swap: boolean;
  };
  /** A directory as a tar file that appears whole or not at all, for its owner alone. */
  archive(directory: string, file: string, options?: CallOptions): Promise<void>;
  /**
   * The plain files of such a tar file, written into an empty directory; anything else in it is refused (INVALID_ARGUMENT).
   * `maxBytes`: of all files, and of the archive.
   */
  unpackFiles(
    file: string,
    directory: string,
    options: CallOptions & { readonly maxBytes: number },
  ): Promise<void>;
  /** Sets limits of a pod's cgroup, which is made where it is missing. */
  limitPodCgroup(path: string, resources: RuntimeResources): Promise<void>;
  /** Removes a pod's cgroup with everything below; a repeat is no error. */
  removePodCgroup(cgroupParent: string): Promise<void>;
  /** Lowest oom_score_adj that this process may give to a child. */
  minOomScoreAdj(): number;
  /** Of a network namespace, loopback left out. */
  networkUsage(netnsPath: string): Promise<readonly NetworkInterfaceUsage[]>;
  /** What a pod's cgroup uses with all below it; undefined when there is none. */
  cgroupUsage(path: string): Promise<ContainerUsage | undefined>;
  /** State of the file system that a path lies on. */
  filesystem(path: string): Promise<{
    readonly device: string;
    readonly sizeBytes: bigint;
    readonly inodes: bigint;
    readonly inodesFree: bigint;
  }>;
}
