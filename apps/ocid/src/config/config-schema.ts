import type { WorkloadResources } from "@ocid/cri-server";

/** One setting: where it stands in the file, its flag, what it means. The default is what `defaultConfig` says. */
export interface Setting {
  /** `table.key` in the TOML file. */
  readonly key: string;
  readonly type: "string" | "strings" | "boolean" | "integer";
  /** Name of the command line flag, without dashes. */
  readonly flag?: string;
  readonly choices?: readonly string[];
  /** Whether an empty string is a value: "none". */
  readonly mayBeEmpty?: boolean;
  /** Whether a change counts as soon as the daemon is told to read its configuration again (SIGHUP). */
  readonly reloads?: boolean;
  readonly meaning: string;
}

export const settings = [
  {
    key: "storage.root",
    type: "string",
    flag: "root",
    meaning: "where images and containers are kept (containers/storage's graph root)",
  },
  {
    key: "storage.runroot",
    type: "string",
    flag: "runroot",
    meaning: "where storage keeps what a reboot may clear",
  },
  {
    key: "storage.imagestore",
    type: "string",
    flag: "imagestore",
    mayBeEmpty: true,
    meaning: "a graph root of its own for images and their layers; empty: they are in storage.root",
  },
  {
    key: "scrub.interval_hours",
    type: "integer",
    meaning: "hours from one check of the whole store in the background to the next; 0 never checks",
  },
  {
    key: "scrub.mib_per_second",
    type: "integer",
    meaning: "how fast that check reads at most",
  },
  { key: "server.listen", type: "string", flag: "listen", meaning: "path of the CRI's unix socket" },
  {
    key: "server.socket_group",
    type: "string",
    mayBeEmpty: true,
    meaning: "group, by name or number, that may use the socket beside root; empty for nobody",
  },
  {
    key: "server.state_dir",
    type: "string",
    flag: "state-dir",
    meaning: "records of pods and containers, monitors' files, pinned namespaces",
  },
  {
    key: "server.stream_address",
    type: "string",
    flag: "stream-address",
    meaning: "address on which exec, attach and port-forward are served to the kubelet",
  },
  {
    key: "server.stream_port",
    type: "integer",
    flag: "stream-port",
    meaning: "port of the streaming server; 0 takes a free one",
  },
  {
    key: "server.stream_idle_timeout",
    type: "integer",
    meaning: "seconds after which a streaming connection on which nothing moves is closed",
  },
  {
    key: "server.stream_tls_cert",
    type: "string",
    mayBeEmpty: true,
    meaning: "PEM file of the streaming server's certificate chain; with the key, streams are served by TLS",
  },
  {
    key: "server.stream_tls_key",
    type: "string",
    mayBeEmpty: true,
    meaning: "PEM file of the streaming server's private key",
  },
  { key: "runtime.default", type: "string", meaning: "runtime handler of pods that name none" },
  { key: "runtime.conmon", type: "string", meaning: "path of conmon, or its name to be found in PATH" },
  {
    key: "runtime.cgroup_driver",
    type: "string",
    choices: ["cgroupfs", "systemd"],
    meaning: "who makes cgroups; must be the kubelet's",
  },
  {
    key: "runtime.cdi_spec_dirs",
    type: "strings",
    flag: "cdi-spec-dir",
    meaning: "directories of CDI device specifications; of two with the same device the later counts",
  },
  {
    key: "runtime.hooks_dir",
    type: "strings",
    reloads: true,
    flag: "hooks-dir",
    meaning: "directories of OCI hooks (*.json); of two files of the same name the later counts",
  },
  {
    key: "network.config_dir",
    type: "string",
    flag: "cni-config-dir",
    meaning: "directory of CNI network configurations; the first by name is used",
  },
  {
    key: "network.plugin_dirs",
    type: "strings",
    flag: "cni-plugin-dir",
    meaning: "directories in which CNI plugins are looked for",
  },
  {
    key: "network.config_template",
    type: "string",
    mayBeEmpty: true,
    flag: "cni-config-template",
    meaning:
      "template of a CNI network configuration, filled when the kubelet tells the pods' address ranges",
  },
  {
    key: "nri.enabled",
    type: "boolean",
    meaning: "whether plugins of the Node Resource Interface see and adjust pods and containers",
  },
  {
    key: "nri.socket",
    type: "string",
    flag: "nri-socket",
    meaning: "path of the unix socket to which plugins connect",
  },
  {
    key: "nri.disable_connections",
    type: "boolean",
    meaning: "lets no plugin connect; those in plugin_path are started all the same",
  },
  {
    key: "nri.plugin_path",
    type: "string",
    flag: "nri-plugin-path",
    meaning: "directory of plugins (programs named like 10-name) that are started with the daemon",
  },
  {
    key: "nri.plugin_config_path",
    type: "string",
    meaning: "directory of plugins' configurations: 10-name.conf or name.conf",
  },
  {
    key: "nri.plugin_registration_timeout",
    type: "integer",
    meaning: "seconds that a plugin has to register, and to take what it is told when it comes",
  },
  {
    key: "nri.plugin_request_timeout",
    type: "integer",
    meaning: "seconds that a plugin has for a request; one that takes longer is cut off",
  },
  {
    key: "nri.default_validator",
    type: "boolean",
    meaning: "whether adjustments are refused by the settings below, and by pods' annotations",
  },
  {
    key: "nri.reject_oci_hook_adjustment",
    type: "boolean",
    meaning: "refuses hooks of plugins",
  },
  {
    key: "nri.reject_runtime_default_seccomp_adjustment",
    type: "boolean",
    meaning: "refuses plugins' seccomp policies for containers that have the runtime's default one",
  },
  {
    key: "nri.reject_unconfined_seccomp_adjustment",
    type: "boolean",
    meaning: "refuses plugins' seccomp policies for containers that have none",
  },
  {
    key: "nri.reject_custom_seccomp_adjustment",
    type: "boolean",
    meaning: "refuses plugins' seccomp policies for containers that have one of the node's files",
  },
  {
    key: "nri.reject_namespace_adjustment",
    type: "boolean",
    meaning: "refuses other namespaces of plugins",
  },
  {
    key: "nri.reject_sysctl_adjustment",
    type: "boolean",
    meaning: "refuses sysctls of plugins",
  },
  {
    key: "nri.required_plugins",
    type: "strings",
    meaning: "plugins (name or 10-name) without which no container is made",
  },
  {
    key: "nri.tolerate_missing_plugins_annotation",
    type: "string",
    mayBeEmpty: true,
    meaning: "annotation by which a pod goes without required plugins; empty for none",
  },
  {
    key: "image.pinned",
    type: "strings",
    reloads: true,
    meaning: "images that the kubelet's garbage collection must leave alone",
  },
  {
    key: "image.parallel_layers",
    type: "integer",
    meaning: "layers unpacked at once; 0 is one for each processor, at most 3",
  },
  {
    key: "image.signature_policy",
    type: "string",
    mayBeEmpty: true,
    reloads: true,
    flag: "signature-policy",
    meaning: "policy.json that images must satisfy; the containers tools' own where it is not set",
  },
  {
    key: "image.signature_policy_dir",
    type: "string",
    mayBeEmpty: true,
    reloads: true,
    meaning: "directory of policies for pods of one namespace, NAMESPACE.json, instead of the other",
  },
  {
    key: "log.level",
    type: "string",
    reloads: true,
    flag: "log-level",
    choices: ["debug", "info", "warn", "error"],
    meaning: "least important lines that are logged",
  },
  {
    key: "log.format",
    type: "string",
    choices: ["logfmt", "json"],
    meaning: "form of the log on standard error",
  },
  {
    key: "metrics.listen",
    type: "string",
    mayBeEmpty: true,
    flag: "metrics-listen",
    meaning:
      "where Prometheus metrics are served: ADDRESS:PORT, or the path of a unix socket; empty for nowhere",
  },
  {
    key: "http.listen",
    type: "string",
    mayBeEmpty: true,
    flag: "http",
    meaning: "where the node page is served: ADDRESS:PORT, or the path of a unix socket; empty for nowhere",
  },
  {
    key: "http.remote",
    type: "boolean",
    meaning: "whether http.listen may be an address that other machines reach; the page has no password",
  },
  {
    key: "stats.period_seconds",
    type: "integer",
    meaning:
      "how old, in seconds, statistics may be in a list of more than 32 containers and pods; 0: each list looks at all",
  },
  {
    key: "watch.slow_seconds",
    type: "integer",
    meaning: "how long an operation may take before the log tells where it stands",
  },
  {
    key: "watch.stuck_seconds",
    type: "integer",
    meaning: "how long an operation may take before systemd's watchdog is no longer fed; 0 for ever",
  },
] as const satisfies readonly Setting[];

export interface RuntimeConfig {
  /** Path of the OCI runtime, or its name to be found in PATH. */
  readonly path: string;
  /** By default "gvisor" for a program named runsc, "oci" for all others. */
  readonly type?: "oci" | "gvisor";
  /** The runtime's own state directory; by default below the state directory. */
  readonly root?: string;
  /** Annotations of pods and containers that the runtime is told: names, or beginnings with `*`. */
  readonly annotations?: readonly string[];
  /** Arguments before each of its commands. */
  readonly args?: readonly string[];
  /** The monitor of its containers; by default `runtime.conmon`. */
  readonly conmon?: string;
}

export interface WorkloadConfig {
  /** Pods that have this annotation are of the workload. */
  readonly activation_annotation: string;
  /** Of annotations that say other resources for one container; without it, none does. */
  readonly annotation_prefix?: string;
  readonly resources?: WorkloadResources;
}

export interface Config {
  readonly storage: { readonly root: string; readonly runroot: string; readonly imagestore: string };
  readonly scrub: { readonly interval_hours: number; readonly mib_per_second: number };
  readonly server: {
    readonly listen: string;
    readonly socket_group: string;
    readonly state_dir: string;
    readonly stream_address: string;
    readonly stream_port: number;
    readonly stream_idle_timeout: number;
    readonly stream_tls_cert: string;
    readonly stream_tls_key: string;
  };
  readonly runtime: {
    readonly default: string;
    readonly conmon: string;
    readonly cgroup_driver: "cgroupfs" | "systemd";
    readonly cdi_spec_dirs: readonly string[];
    readonly hooks_dir: readonly string[];
  };
  /** Runtime handlers by name, `[runtimes.NAME]`. */
  readonly runtimes: Readonly<Record<string, RuntimeConfig>>;
  /** Kinds of pods that are pinned to processors, `[workloads.NAME]`. */
  readonly workloads: Readonly<Record<string, WorkloadConfig>>;
  readonly network: {
    readonly config_dir: string;
    readonly plugin_dirs: readonly string[];
    readonly config_template: string;
  };
  readonly nri: {
    readonly enabled: boolean;
    readonly socket: string;
    readonly disable_connections: boolean;
    readonly plugin_path: string;
    readonly plugin_config_path: string;
    readonly plugin_registration_timeout: number;
    readonly plugin_request_timeout: number;
    readonly default_validator: boolean;
    readonly reject_oci_hook_adjustment: boolean;
    readonly reject_runtime_default_seccomp_adjustment: boolean;
    readonly reject_unconfined_seccomp_adjustment: boolean;
    readonly reject_custom_seccomp_adjustment: boolean;
    readonly reject_namespace_adjustment: boolean;
    readonly reject_sysctl_adjustment: boolean;
    readonly required_plugins: readonly string[];
    readonly tolerate_missing_plugins_annotation: string;
  };
  readonly image: {
    readonly pinned: readonly string[];
    readonly parallel_layers: number;
    /** Empty: `~/.config/containers/policy.json` or `/etc/containers/policy.json`, where there is one. */
    readonly signature_policy: string;
    /** Empty: one policy for all namespaces. */
    readonly signature_policy_dir: string;
  };
  readonly metrics: { readonly listen: string };
  readonly http: { readonly listen: string; readonly remote: boolean };
  readonly stats: { readonly period_seconds: number };
  readonly watch: { readonly slow_seconds: number; readonly stuck_seconds: number };
  readonly log: { readonly level: "debug" | "info" | "warn" | "error"; readonly format: "logfmt" | "json" };
}

export const defaultConfig: Config = {
  storage: { root: "/var/lib/containers/storage", runroot: "/run/containers/storage", imagestore: "" },
  scrub: { interval_hours: 168, mib_per_second: 20 },
  server: {
    listen: "/run/ocid/ocid.sock",
    socket_group: "",
    state_dir: "/var/lib/ocid",
    stream_address: "127.0.0.1",
    stream_port: 0,
    stream_idle_timeout: 4 * 3600,
    stream_tls_cert: "",
    stream_tls_key: "",
  },
  runtime: {
    default: "runc",
    conmon: "conmon",
    cgroup_driver: "cgroupfs",
    cdi_spec_dirs: ["/etc/cdi", "/var/run/cdi"],
    hooks_dir: ["/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"],
  },
  runtimes: { runc: { path: "runc" } },
  workloads: {},
  network: {
    config_dir: "/etc/cni/net.d",
    plugin_dirs: ["/opt/cni/bin", "/usr/lib/cni"],
    config_template: "",
  },
  nri: {
    enabled: true,
    socket: "/var/run/nri/nri.sock",
    disable_connections: false,
    plugin_path: "/opt/nri/plugins",
    plugin_config_path: "/etc/nri/conf.d",
    plugin_registration_timeout: 5,
    plugin_request_timeout: 2,
    default_validator: false,
    reject_oci_hook_adjustment: false,
    reject_runtime_default_seccomp_adjustment: false,
    reject_unconfined_seccomp_adjustment: false,
    reject_custom_seccomp_adjustment: false,
    reject_namespace_adjustment: false,
    reject_sysctl_adjustment: false,
    required_plugins: [],
    tolerate_missing_plugins_annotation: "",
  },
  image: { pinned: [], parallel_layers: 0, signature_policy: "", signature_policy_dir: "" },
  log: { level: "info", format: "logfmt" },
  metrics: { listen: "" },
  http: { listen: "", remote: false },
  stats: { period_seconds: 10 },
  watch: { slow_seconds: 30, stuck_seconds: 600 },
};
