import { existsSync, readFileSync, statSync } from "node:fs";
import { findPlugin } from "@ocid/cni";
import { detectCgroups, findExecutable, statFilesystem } from "@ocid/host";
import type { Diagnosis } from "../finding.ts";

/** What the node's kernel offers, as its files say. */
export interface KernelState {
  readonly filesystems: string;
  /** user.max_user_namespaces; undefined where the kernel has none. */
  readonly maxUserNamespaces: number | undefined;
  readonly seccomp: boolean;
  readonly controllers: ReadonlySet<string>;
  readonly ipForward: string | undefined;
  /** undefined while the module br_netfilter is not loaded. */
  readonly bridgeCallsIptables: string | undefined;
}

export function readKernelState(): KernelState {
  const controllers = detectCgroups().controllers;
  const users = read("/proc/sys/user/max_user_namespaces");
  return {
    filesystems: read("/proc/filesystems") ?? "",
    maxUserNamespaces: users === undefined ? undefined : Number(users),
    seccomp: /^Seccomp:/m.test(read("/proc/self/status") ?? ""),
    controllers: new Set(controllers.keys()),
    ipForward: read("/proc/sys/net/ipv4/ip_forward"),
    bridgeCallsIptables: read("/proc/sys/net/bridge/bridge-nf-call-iptables"),
  };
}

/** Features and sysctls. None is mended: they are the operator's, and for good only in files of the node. */
export function kernelFindings(kernel: KernelState): readonly Diagnosis[] {
  const found: Diagnosis[] = [];
  const miss = (kind: string, severity: Diagnosis["severity"], what: string, why: string, remedy: string) =>
    found.push({ kind, severity, what, why, remedy });
  if (!/\toverlay$/m.test(kernel.filesystems))
    miss(
      "kernel",
      "problem",
      "the kernel has no overlay file system",
      "containers' root file systems are overlays",
      "modprobe overlay",
    );
  if (!kernel.maxUserNamespaces)
    miss(
      "kernel",
      "advice",
      "user namespaces are not to be had",
      "pods with hostUsers: false cannot run",
      "sysctl user.max_user_namespaces=15000",
    );
  if (!kernel.seccomp)
    miss(
      "kernel",
      "problem",
      "the kernel has no seccomp",
      "containers with a seccomp profile cannot run",
      "use a kernel with CONFIG_SECCOMP_FILTER",
    );
  for (const controller of ["cpu", "memory", "pids", "cpuset"])
    if (!kernel.controllers.has(controller))
      miss(
        "kernel",
        "problem",
        `the cgroup controller ${controller} is missing`,
        "limits of containers cannot be set",
        `enable it (kernel command line: cgroup_enable=${controller})`,
      );
  if (kernel.ipForward !== undefined && kernel.ipForward !== "1")
    miss(
      "sysctl",
      "advice",
      `net.ipv4.ip_forward is ${kernel.ipForward}`,
      "pods do not reach other nodes unless a plugin sets it",
      "sysctl -w net.ipv4.ip_forward=1, and for good in /etc/sysctl.d",
    );
  if (kernel.bridgeCallsIptables !== "1")
    miss(
      "sysctl",
      "advice",
      kernel.bridgeCallsIptables === undefined
        ? "the module br_netfilter is not loaded"
        : `net.bridge.bridge-nf-call-iptables is ${kernel.bridgeCallsIptables}`,
      "on a bridge, services of Kubernetes are not reached by pods of the same node",
      "modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1",
    );
  return found;
}

export interface Programs {
  readonly ocid: string | undefined;
  readonly conmon: string;
  readonly runtimes: Readonly<Record<string, string>>;
  /** Types of the network's plugins, also those for addresses; undefined without a usable network. */
  readonly plugins: readonly string[] | undefined;
  readonly pluginDirs: readonly string[];
  readonly configDir: string;
}

export function programFindings(programs: Programs): readonly Diagnosis[] {
  const { ocid, conmon, runtimes, plugins, pluginDirs, configDir } = programs;
  const missing = (what: string, why: string, remedy: string, kind = "program"): Diagnosis => ({
    ...{ kind, severity: "problem", what, why, remedy },
  });
  const found: Diagnosis[] = [];
  if (ocid === undefined)
    found.push({
      ...missing(
        "ocid is not in PATH",
        "its configuration cannot be asked for",
        "install it, or add it to PATH",
      ),
      severity: "advice",
    });
  if (findExecutable(conmon) === undefined)
    found.push(
      missing(
        `${conmon} is missing`,
        "no container can be made without its monitor",
        "apt install conmon, or set runtime.conmon",
      ),
    );
  for (const [handler, path] of Object.entries(runtimes))
    if (findExecutable(path) === undefined)
      found.push(
        missing(
          `${path} of the runtime handler ${handler} is missing`,
          "its pods cannot run",
          `install it, or set path in [runtimes.${handler}]`,
        ),
      );
  if (plugins === undefined)
    found.push(
      missing(
        `no usable network configuration is in ${configDir}`,
        "pods get no network",
        "install a network add-on, or write a .conflist there",
        "network-config",
      ),
    );
  for (const plugin of new Set(plugins)) {
    try {
      findPlugin(plugin, pluginDirs);
    } catch {
      found.push(
        missing(
          `the CNI plugin ${plugin} is in none of ${pluginDirs.join(", ")}`,
          "pods get no network",
          "apt install containernetworking-plugins, or set network.plugin_dirs",
        ),
      );
    }
  }
  return found;
}

/** Below so much of its space or inodes a file system counts as full. */
const fullBelow = 0.05;

/** One file system is told once, by the first of the directories on it. */
export function spaceFindings(directories: readonly string[]): readonly Diagnosis[] {
  const seen = new Set<number>();
  return directories.flatMap(directory => {
    const { dev } = statSync(directory, { throwIfNoEntry: false }) ?? {};
    if (dev === undefined || seen.has(dev)) return [];
    seen.add(dev);
    return judgeSpace(directory, statFilesystem(directory));
  });
}

export function judgeSpace(
  directory: string,
  space: Pick<ReturnType<typeof statFilesystem>, "blocks" | "blocksFree" | "inodes" | "inodesFree">,
): readonly Diagnosis[] {
  const kinds = [
    ["space", space.blocks, space.blocksFree],
    ["inodes", space.inodes, space.inodesFree],
  ] as const;
  return kinds.flatMap(([what, all, free]): Diagnosis[] => {
    const share = Number(free) / Number(all);
    // File systems without a fixed number of inodes say 0.
    if (all === 0n || share >= fullBelow) return [];
    return [
      {
        kind: "disk",
        severity: "problem",
        what: `the file system of ${directory} has ${(share * 100).toFixed(1)}% of its ${what} left`,
        why: "pulls and containers fail when it is full, and the kubelet evicts pods",
        remedy: "ocic storage df shows what removing images frees; ocic storage gc, ocic rmi",
      },
    ];
  });
}

function read(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8").trim() : undefined;
}
