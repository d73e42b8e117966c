import { isAbsolute, normalize } from "node:path";
import { OcidError } from "@ocid/base";
import { type ContainerConfig, NamespaceMode, type PodSandboxConfig } from "@ocid/cri-api";
import type { ImageConfig, RuntimeMount, RuntimeSpec } from "@ocid/spec";
import type { PodNamespaces } from "../ports.ts";
import { containerCapabilities } from "./capabilities.ts";
import type { ContainerUser } from "./container-user.ts";
import { containerDevices } from "./devices.ts";
import {
  requestedMounts,
  rootPropagation,
  type SourcedMount,
  sandboxFileMounts,
  standardMounts,
} from "./mounts.ts";
import { type ResourceSupport, runtimeResources } from "./resources.ts";
import { seccompFor } from "./seccomp.ts";
import type { PodIdMappings } from "./user-namespace.ts";

/** All that a container's runtime configuration follows from; nothing is looked up here. */
export interface ContainerSpecInput {
  readonly id: string;
  readonly config: ContainerConfig;
  readonly sandbox: PodSandboxConfig;
  readonly image: ImageConfig;
  readonly user: ContainerUser;
  readonly rootPath: string;
  readonly cgroupsPath: string;
  readonly namespaces: PodNamespaces;
  readonly hostNetwork: boolean;
  /** Pid namespace of the pause container, or of the container that is to be joined. */
  readonly pidNamespace: string | undefined;
  readonly shmPath: string;
  /** Files of the sandbox by their place in the container. */
  readonly files: Readonly<Record<string, string>>;
  /** The requested mounts. */
  readonly mounts: readonly SourcedMount[];
  /** Whether the runtime knows recursive read-only mounts. */
  readonly recursiveReadOnly: boolean;
  /** Of a pod with a user namespace. */
  readonly userMappings: PodIdMappings | undefined;
  /** Annotations that the runtime is told. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Mounts of the image's own volumes. */
  readonly volumes: readonly RuntimeMount[];
  readonly hostname: string;
  readonly bounding: ReadonlySet<string>;
  readonly minOomScoreAdj: number;
  readonly support: ResourceSupport;
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The runtime-spec configuration of a container. INVALID_ARGUMENT names a field that cannot be honoured. */
export function containerSpec(input: ContainerSpecInput): RuntimeSpec {
  const { config, user, namespaces } = input;
  const security = config.linux?.securityContext;
  const privileged = security?.privileged ?? false;
  if (privileged && !input.sandbox.linux?.securityContext?.privileged)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `container ${config.metadata?.name} is privileged, but its pod is not`,
    );
  const capabilities = containerCapabilities(
    security?.capabilities,
    privileged,
    input.bounding,
    input.support.onDropped,
  );
  const { devices, mounts, rules } = containerDevices(
    config.devices,
    privileged,
    input.userMappings !== undefined,
  );
  const seccomp = seccompFor(
    security?.seccomp,
    security?.seccompProfilePath ?? "",
    privileged,
    capabilities.bounding ?? [],
  );
  const propagation = rootPropagation(config.mounts);
  const readOnlyRoot = security?.readonlyRootfs ?? false;
  return {
    ociVersion: "1.0.2",
    process: {
      terminal: config.tty,
      user: { uid: user.uid, gid: user.gid, additionalGids: [...user.groups] },
      args: [...containerArguments(config, input.image)],
      env: [...containerEnvironment(config, input.image, input.hostname)],
      cwd: workingDirectory(config.workingDir || input.image.config?.WorkingDir || "/"),
      capabilities:
        user.uid === 0
          ? capabilities
          : { ...capabilities, effective: capabilities.ambient ?? [], permitted: capabilities.ambient ?? [] },
      noNewPrivileges: security?.noNewPrivs ?? false,
      oomScoreAdj: Math.max(Number(config.linux?.resources?.oomScoreAdj ?? 0n), input.minOomScoreAdj),
    },
    root: { path: input.rootPath, readonly: readOnlyRoot },
    mounts: [
      ...standardMounts({
        privileged,
        shmPath: input.shmPath,
        hostNetwork: input.hostNetwork,
        userNamespace: input.userMappings !== undefined,
      }),
      ...sandboxFileMounts(input.files, config.mounts, readOnlyRoot),
      ...input.volumes,
      ...mounts,
      ...requestedMounts(input.mounts, input.recursiveReadOnly),
    ].filter(
      (mount, at, all) =>
        all.findLastIndex(other => other.destination === mount.destination) === at ||
        !["/dev/shm", "/sys/fs/cgroup", "/dev/mqueue"].includes(mount.destination),
    ),
    annotations: {
      ...input.annotations,
      "io.kubernetes.cri.container-name": config.metadata?.name ?? "",
      "io.kubernetes.cri.sandbox-name": input.sandbox.metadata?.name ?? "",
    },
    linux: {
      namespaces: [
        { type: "mount" },
        ...(namespaces.user === undefined ? [] : [{ type: "user" as const, path: namespaces.user }]),
        ...(input.hostNetwork ? [] : [{ type: "network" as const, ...pathOf(namespaces.net) }]),
        ...(namespaces.ipc === undefined ? [] : [{ type: "ipc" as const, path: namespaces.ipc }]),
        ...(namespaces.uts === undefined ? [] : [{ type: "uts" as const, path: namespaces.uts }]),
        // What a program finds in /sys/fs/cgroup is then its container's; on version 1 the mounts do that.
        ...(input.support.unified && !privileged ? [{ type: "cgroup" as const }] : []),
        ...pidNamespace(
          security?.namespaceOptions?.pid ??
            input.sandbox.linux?.securityContext?.namespaceOptions?.pid ??
            NamespaceMode.POD,
          input.pidNamespace,
        ),
      ],
      ...(input.userMappings
        ? { uidMappings: [...input.userMappings.uids], gidMappings: [...input.userMappings.gids] }
        : {}),
      devices: [...devices],
      cgroupsPath: input.cgroupsPath,
      resources: { ...runtimeResources(config.linux?.resources, input.support), devices: [...rules] },
      ...(propagation ? { rootfsPropagation: propagation } : {}),
      ...(seccomp ? { seccomp } : {}),
      ...(privileged
        ? {}
        : {
            maskedPaths: checkedPaths(security?.maskedPaths ?? [], "masked"),
            readonlyPaths: checkedPaths(security?.readonlyPaths ?? [], "read-only"),
          }),
    },
  };
}

/** Relative to `/`, as images mean it; nothing leads out. */
function workingDirectory(path: string): string {
  const directory = normalize(`/${path}`).replace(/(?<=.)\/$/, "");
  if (path.includes("\0")) throw new OcidError("INVALID_ARGUMENT", "the working directory has a zero byte");
  return directory;
}

function checkedPaths(paths: readonly string[], what: string): string[] {
  for (const path of paths)
    if (!isAbsolute(path) || path.split("/").includes("..") || path.includes("\0"))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `${what} path ${JSON.stringify(path.slice(0, 200))} should be absolute`,
      );
  return [...paths];
}

/** `command` replaces the image's entrypoint, `args` its command; a command alone drops the image's. */
function containerArguments(config: ContainerConfig, image: ImageConfig): readonly string[] {
  const entrypoint = config.command.length > 0 ? config.command : (image.config?.Entrypoint ?? []);
  const args =
    config.args.length > 0 ? config.args : config.command.length > 0 ? [] : (image.config?.Cmd ?? []);
  const all = [...entrypoint, ...args];
  if (all.length === 0)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `container ${config.metadata?.name} has no command: neither it nor its image names one`,
    );
  return all;
}

function containerEnvironment(
  config: ContainerConfig,
  image: ImageConfig,
  hostname: string,
): readonly string[] {
  const values = new Map<string, string>();
  const set = (entry: string): void => {
    const at = entry.indexOf("=");
    values.set(at === -1 ? entry : entry.slice(0, at), at === -1 ? "" : entry.slice(at + 1));
  };
  set(defaultPath);
  set(`HOSTNAME=${hostname}`);
  if (config.tty) set("TERM=xterm");
  // An image's entry without a name would keep the container from starting.
  for (const entry of image.config?.Env ?? []) if (/^[^=\0]+(=[^\0]*)?$/s.test(entry)) set(entry);
  for (const { key, value } of config.envs) {
    const text = Buffer.from(value).toString("utf8");
    if (key === "" || key.includes("=") || `${key}${text}`.includes("\0"))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `not the name of an environment variable: ${JSON.stringify(key.slice(0, 100))}`,
      );
    values.set(key, text);
  }
  return [...values].map(([key, value]) => `${key}=${value}`);
}

function pidNamespace(mode: NamespaceMode, path: string | undefined): RuntimeSpec["linux"]["namespaces"] {
  if (mode === NamespaceMode.NODE) return [];
  return [{ type: "pid", ...(mode === NamespaceMode.CONTAINER ? {} : pathOf(path)) }];
}

function pathOf(path: string | undefined): { path?: string } {
  return path === undefined ? {} : { path };
}
