import { isAbsolute, normalize } from "node:path";
import { OcidError } from "@ocid/base";
import { type Mount, MountPropagation } from "@ocid/cri-api";
import type { RuntimeMount } from "@ocid/spec";

/** What every container has before what it asks for. */
export function standardMounts(options: {
  readonly privileged: boolean;
  readonly shmPath: string;
  readonly hostNetwork: boolean;
  /** Whether the pod has a user namespace: what its root does not own it cannot mount anew. */
  readonly userNamespace: boolean;
}): readonly RuntimeMount[] {
  const readOnly = options.privileged ? [] : ["ro"];
  const boundSys = options.userNamespace && options.hostNetwork;
  return [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
    boundSys
      ? {
          destination: "/sys",
          type: "bind",
          source: "/sys",
          options: ["rbind", "rprivate", "nosuid", "noexec", "nodev", "ro"],
        }
      : {
          destination: "/sys",
          type: "sysfs",
          source: "sysfs",
          options: ["nosuid", "noexec", "nodev", ...readOnly],
        },
    {
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options: ["nosuid", "noexec", "nodev", "relatime", ...readOnly],
    },
    {
      destination: "/dev/shm",
      type: "bind",
      source: options.shmPath,
      options: ["rw", "bind", "nosuid", "nodev", "noexec"],
    },
  ];
}

/** A file of the sandbox, unless the container brings its own. */
export function sandboxFileMounts(
  files: Readonly<Record<string, string>>,
  requested: readonly Mount[],
  readOnlyRoot: boolean,
): readonly RuntimeMount[] {
  const taken = new Set(requested.map(mount => normalize(mount.containerPath)));
  return Object.entries(files)
    .filter(([destination]) => !taken.has(destination))
    .map(([destination, source]) => ({
      destination,
      type: "bind",
      source,
      options: ["bind", "rprivate", readOnlyRoot ? "ro" : "rw", "nosuid", "nodev", "noexec"],
    }));
}

const propagations = {
  [MountPropagation.PROPAGATION_PRIVATE]: "rprivate",
  [MountPropagation.PROPAGATION_HOST_TO_CONTAINER]: "rslave",
  [MountPropagation.PROPAGATION_BIDIRECTIONAL]: "rshared",
} as const;

/** A mount that a container asks for, and where its content lies on the node. */
export interface SourcedMount {
  readonly mount: Mount;
  readonly source: string;
}

/**
 * The mounts that a container asks for, shallow before deep.
 * INVALID_ARGUMENT and FAILED_PRECONDITION name what cannot be.
 */
export function requestedMounts(
  mounts: readonly SourcedMount[],
  recursiveReadOnly: boolean,
): readonly RuntimeMount[] {
  return mounts
    .map(({ mount, source }) => {
      const destination = checkDestination(mount.containerPath);
      const propagation = propagations[mount.propagation];
      if (propagation === undefined)
        throw new OcidError(
          "INVALID_ARGUMENT",
          `mount at ${destination} has an unknown propagation ${mount.propagation}`,
        );
      if (mount.recursiveReadOnly) checkRecursiveReadOnly(mount, recursiveReadOnly);
      const access = mount.recursiveReadOnly ? "rro" : mount.readonly ? "ro" : "rw";
      return { destination, type: "bind", source, options: ["rbind", propagation, access] };
    })
    .sort((a, b) => a.destination.split("/").length - b.destination.split("/").length);
}

function checkDestination(path: string): string {
  const destination = normalize(path).replace(/(?<=.)\/$/, "");
  if (!isAbsolute(path) || path.includes("\0") || destination === "/")
    throw new OcidError(
      "INVALID_ARGUMENT",
      `mount path ${JSON.stringify(path.slice(0, 200))} should be absolute and below /`,
    );
  return destination;
}

function checkRecursiveReadOnly(mount: Mount, supported: boolean): void {
  const at = `mount at ${mount.containerPath}: recursive_read_only`;
  if (!mount.readonly) throw new OcidError("INVALID_ARGUMENT", `${at} needs readonly`);
  if (mount.propagation !== MountPropagation.PROPAGATION_PRIVATE)
    throw new OcidError("INVALID_ARGUMENT", `${at} needs private propagation`);
  if (!supported)
    throw new OcidError("FAILED_PRECONDITION", `${at} is not supported by the pod's runtime handler`);
}

/** How mounts of the root file system spread, so that those with propagation can work. */
export function rootPropagation(mounts: readonly Mount[]): "shared" | "slave" | undefined {
  if (mounts.some(mount => mount.propagation === MountPropagation.PROPAGATION_BIDIRECTIONAL)) return "shared";
  return mounts.some(mount => mount.propagation === MountPropagation.PROPAGATION_HOST_TO_CONTAINER)
    ? "slave"
    : undefined;
}
