import { isAbsolute, normalize } from "node:path";
import { OcidError } from "@ocid/base";
import { type Mount, MountPropagation } from "@ocid/cri-api";
import type { RuntimeMount } from "@ocid/spec";

/** What every container has before what it asks for. */
export function standardMounts(options: {
  readonly privileged: boolean;
  readonly shmPath: string;
  readonly hostNetwork: boolean;
}): readonly RuntimeMount[] {
  const readOnly = options.privileged ? [] : ["ro"];
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
    {
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

/** Directories that an image volume's path leads to, by the mount's container path. */
export type ImageMountPaths = ReadonlyMap<string, string>;

/** The mounts that a container asks for, shallow before deep. INVALID_ARGUMENT names what cannot be. */
export function requestedMounts(
  mounts: readonly Mount[],
  imagePaths: ImageMountPaths,
): readonly RuntimeMount[] {
  return mounts
    .map(mount => {
      if (!isAbsolute(mount.containerPath) || mount.containerPath.includes("\0"))
        throw new OcidError(
          "INVALID_ARGUMENT",
          `mount path ${JSON.stringify(mount.containerPath.slice(0, 200))} should be absolute`,
        );
      const source = imagePaths.get(mount.containerPath) ?? mount.hostPath;
      if (!isAbsolute(source))
        throw new OcidError(
          "INVALID_ARGUMENT",
          `mount at ${mount.containerPath}: the host path ${JSON.stringify(source.slice(0, 200))} should be absolute`,
        );
      if (mount.recursiveReadOnly) {
        if (!mount.readonly)
          throw new OcidError(
            "INVALID_ARGUMENT",
            `mount at ${mount.containerPath}: recursive_read_only needs readonly`,
          );
        if (mount.propagation !== MountPropagation.PROPAGATION_PRIVATE)
          throw new OcidError(
            "INVALID_ARGUMENT",
            `mount at ${mount.containerPath}: recursive_read_only needs private propagation`,
          );
        throw new OcidError(
          "UNIMPLEMENTED",
          `mount at ${mount.containerPath}: recursive_read_only is not supported by this node's runtime`,
        );
      }
      if (mount.uidMappings.length > 0 || mount.gidMappings.length > 0)
        throw new OcidError(
          "UNIMPLEMENTED",
          `mount at ${mount.containerPath}: id-mapped mounts are not implemented`,
        );
      const readOnly = mount.readonly || imagePaths.has(mount.containerPath);
      return {
        destination: normalize(mount.containerPath),
        type: "bind",
        source,
        options: ["rbind", propagations[mount.propagation], readOnly ? "ro" : "rw"],
      };
    })
    .sort((a, b) => a.destination.split("/").length - b.destination.split("/").length);
}

/** How mounts of the root file system spread, so that those with propagation can work. */
export function rootPropagation(mounts: readonly Mount[]): "shared" | "slave" | undefined {
  if (mounts.some(mount => mount.propagation === MountPropagation.PROPAGATION_BIDIRECTIONAL)) return "shared";
  return mounts.some(mount => mount.propagation === MountPropagation.PROPAGATION_HOST_TO_CONTAINER)
    ? "slave"
    : undefined;
}
