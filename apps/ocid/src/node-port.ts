import { closeSync, constants, fstatSync, mkdirSync, openSync, readSync } from "node:fs";
import { OcidError } from "@ocid/base";
import type { NodePort } from "@ocid/cri-server";
import {
  boundingCapabilities,
  detectCgroups,
  errnoOf,
  isMountPoint,
  minOomScoreAdj,
  mount,
  type NamespaceWorker,
  openCgroup,
  openInRoot,
  removeNamespaces,
  unmount,
} from "@ocid/host";

const maxRootFileBytes = 1024 * 1024;

/** What sandboxes need of this machine. */
export function createNodePort(worker: NamespaceWorker, cgroupDriver: "cgroupfs" | "systemd"): NodePort {
  const capabilities = boundingCapabilities();
  const lowestScore = minOomScoreAdj();
  return {
    createNamespaces: request => worker.create(request),
    async removeNamespaces(directory) {
      removeNamespaces(directory);
    },
    async mountTmpfs({ path, sizeBytes, mode }) {
      mkdirSync(path, { recursive: true });
      if (!isMountPoint(path))
        mount({
          source: "shm",
          target: path,
          fstype: "tmpfs",
          flags: ["nosuid", "nodev", "noexec"],
          data: `mode=${mode.toString(8)},size=${sizeBytes}`,
        });
    },
    async unmount(path) {
      unmount(path, { lazy: true });
    },
    async readInRoot(root, path) {
      return readInRoot(root, path);
    },
    connectInNamespace: (netnsPath, port, options) => worker.connect(netnsPath, port, options),
    capabilities: () => capabilities,
    cgroups() {
      const { version, hugetlb, swap } = detectCgroups();
      return { version, driver: cgroupDriver, hugetlb, swap };
    },
    async removePodCgroup(parent) {
      const cgroup = openCgroup(parent);
      if (!cgroup.exists()) return;
      await cgroup.kill();
      await cgroup.remove();
    },
    minOomScoreAdj: () => lowestScore,
    networkUsage: netnsPath => worker.networkUsage(netnsPath),
  };
}

/** A file of an image is whatever the image makes of it: opened below its root, and only if it is a file of decent size. */
function readInRoot(root: string, path: string): string | undefined {
  const rootFd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  let fd: number;
  try {
    fd = openInRoot(rootFd, path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes(errnoOf(error) ?? "")) return undefined;
    throw error;
  } finally {
    closeSync(rootFd);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return undefined;
    if (stat.size > maxRootFileBytes)
      throw new OcidError(
        "RESOURCE_EXHAUSTED",
        `${path} of the image has ${stat.size} bytes, more than ${maxRootFileBytes}`,
      );
    const buffer = Buffer.alloc(stat.size);
    return buffer.toString("utf8", 0, readSync(fd, buffer, 0, stat.size, 0));
  } finally {
    closeSync(fd);
  }
}
