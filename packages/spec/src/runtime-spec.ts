/** An OCI runtime-spec config.json (v1.1), as far as OCID writes it; see runtime-spec config.md and config-linux.md. */
export interface RuntimeSpec {
  ociVersion: string;
  process: RuntimeProcess;
  root: { path: string; readonly?: boolean };
  hostname?: string;
  mounts: RuntimeMount[];
  hooks?: Record<string, { path: string; args?: string[]; env?: string[]; timeout?: number }[]>;
  annotations?: Record<string, string>;
  linux: RuntimeLinux;
}

export interface RuntimeProcess {
  terminal?: boolean;
  consoleSize?: { height: number; width: number };
  user: { uid: number; gid: number; umask?: number; additionalGids?: number[] };
  args: string[];
  env?: string[];
  cwd: string;
  capabilities?: Partial<
    Record<"bounding" | "effective" | "inheritable" | "permitted" | "ambient", string[]>
  >;
  /** A bigint where a number is not exact: "unlimited" is 2^64 - 1. */
  rlimits?: { type: string; hard: number | bigint; soft: number | bigint }[];
  noNewPrivileges?: boolean;
  apparmorProfile?: string;
  selinuxLabel?: string;
  oomScoreAdj?: number;
  ioPriority?: { class: string; priority: number };
  scheduler?: RuntimeScheduler;
}

/** `process.scheduler`; times are nanoseconds. */
export interface RuntimeScheduler {
  policy: string;
  nice?: number;
  priority?: number;
  flags?: string[];
  runtime?: number;
  deadline?: number;
  period?: number;
}

export interface RuntimeIdMapping {
  containerID: number;
  hostID: number;
  size: number;
}

export interface RuntimeMount {
  destination: string;
  type?: string;
  source?: string;
  options?: string[];
  uidMappings?: RuntimeIdMapping[];
  gidMappings?: RuntimeIdMapping[];
}

export interface RuntimeLinux {
  namespaces: {
    type: "pid" | "network" | "mount" | "ipc" | "uts" | "user" | "cgroup" | "time";
    path?: string;
  }[];
  uidMappings?: RuntimeIdMapping[];
  gidMappings?: RuntimeIdMapping[];
  devices?: RuntimeDevice[];
  cgroupsPath?: string;
  resources?: RuntimeResources;
  rootfsPropagation?: "private" | "shared" | "slave" | "unbindable";
  seccomp?: RuntimeSeccomp;
  maskedPaths?: string[];
  readonlyPaths?: string[];
  mountLabel?: string;
  sysctl?: Record<string, string>;
  intelRdt?: { closID?: string; schemata?: string[]; enableMonitoring?: boolean };
  /** Network devices of the node that move into the container, by their names there. */
  netDevices?: Record<string, { name?: string }>;
  memoryPolicy?: { mode: string; nodes?: string; flags?: string[] };
}

export interface RuntimeDevice {
  type: "c" | "b" | "u" | "p";
  path: string;
  major?: number;
  minor?: number;
  fileMode?: number;
  uid?: number;
  gid?: number;
}

export interface RuntimeResources {
  devices?: { allow: boolean; type?: string; major?: number; minor?: number; access?: string }[];
  memory?: {
    limit?: number;
    reservation?: number;
    swap?: number;
    kernel?: number;
    kernelTCP?: number;
    swappiness?: number;
    disableOOMKiller?: boolean;
    useHierarchy?: boolean;
  };
  cpu?: {
    shares?: number;
    quota?: number;
    period?: number;
    realtimeRuntime?: number;
    realtimePeriod?: number;
    cpus?: string;
    mems?: string;
    idle?: number;
  };
  pids?: { limit: number };
  hugepageLimits?: { pageSize: string; limit: number }[];
  unified?: Record<string, string>;
}

export interface RuntimeSeccomp {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures?: string[];
  flags?: string[];
  listenerPath?: string;
  listenerMetadata?: string;
  syscalls?: {
    names: string[];
    action: string;
    errnoRet?: number;
    args?: { index: number; value: number | bigint; valueTwo?: number | bigint; op: string }[];
  }[];
}
