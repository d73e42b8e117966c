import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { messageOf, OcidError } from "@ocid/base";
import type { NodePort } from "@ocid/cri-server";
import {
  boundingCapabilities,
  detectCgroups,
  errnoOf,
  idmappedMount,
  isMountPoint,
  minOomScoreAdj,
  mount,
  mountOf,
  type NamespaceWorker,
  openCgroup,
  openInRoot,
  removeNamespaces,
  statFilesystem,
  unmount,
} from "@ocid/host";
import { createLayerTar } from "@ocid/layer";
import { unpackFiles } from "./unpack-files.ts";
import { writeTar } from "./write-tar.ts";

/** O_PATH (open(2)), which Node does not name. */
const pathOnly = 0o10000000;
const maxRootFileBytes = 1024 * 1024;

/** What sandboxes need of this machine. */
export function createNodePort(worker: NamespaceWorker, cgroupDriver: "cgroupfs" | "systemd"): NodePort {
  const capabilities = boundingCapabilities();
  const lowestScore = minOomScoreAdj();
  // Of the few places that are asked for; reading all mounts for each container would take long.
  const devices = new Map<string, string>();
  return {
    createNamespaces: request => worker.create(request),
    async removeNamespaces(directory) {
      removeNamespaces(directory);
    },
    async mountTmpfs({ path, sizeBytes, mode, uid = 0, gid = 0 }) {
      mkdirSync(path, { recursive: true });
      if (!isMountPoint(path))
        mount({
          source: "shm",
          target: path,
          fstype: "tmpfs",
          flags: ["nosuid", "nodev", "noexec"],
          data: `mode=${mode.toString(8)},size=${sizeBytes},uid=${uid},gid=${gid}`,
        });
    },
    async unmount(path) {
      unmount(path, { lazy: true });
    },
    async mountIdmapped({ source, target, userNamespace }) {
      if (statSync(source).isDirectory()) mkdirSync(target, { recursive: true, mode: 0o700 });
      else {
        mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
        writeFileSync(target, "", { mode: 0o600 });
      }
      try {
        idmappedMount({ source, target, userNamespace, recursive: true });
      } catch (error) {
        throw new OcidError(
          "FAILED_PRECONDITION",
          `${source} cannot be mounted with the ids of the pod's user namespace: ${messageOf(error)}`,
          { cause: error },
        );
      }
    },
    async removeMounts(directory) {
      if (!existsSync(directory)) return;
      for (const name of readdirSync(directory)) while (unmount(join(directory, name), { lazy: true }));
      rmSync(directory, { recursive: true, force: true });
    },
    async propagationOf(path) {
      const entry = mountOf(path);
      const is = (kind: string) => entry.propagation.some(tag => tag.startsWith(`${kind}:`));
      return { mountpoint: entry.target, shared: is("shared"), slave: is("master") };
    },
    async resolveInRoot(root, path) {
      return resolveInRoot(root, path);
    },
    async readInRoot(root, path) {
      return readInRoot(root, path);
    },
    connectInNamespace: (netnsPath, port, options) => worker.connect(netnsPath, port, options),
    capabilities: () => capabilities,
    securityModules: () => ({
      apparmor: existsSync("/sys/kernel/security/apparmor/profiles"),
      selinux: existsSync("/sys/fs/selinux/enforce"),
    }),
    cgroups() {
      const { version, hugetlb, swap } = detectCgroups();
      return { version, driver: cgroupDriver, hugetlb, swap };
    },
    archive: (directory, file, options) => writeTar(createLayerTar(directory, options), file),
    unpackFiles,
    async limitPodCgroup(path, { memory, cpu, hugepageLimits, unified }) {
      const cgroup = openCgroup(path);
      cgroup.create();
      cgroup.setResources({
        ...(memory ? { memory } : {}),
        ...(cpu ? { cpu } : {}),
        ...(hugepageLimits ? { hugepageLimits } : {}),
        ...(unified ? { unified } : {}),
      });
    },
    async removePodCgroup(parent) {
      const cgroup = openCgroup(parent);
      if (!cgroup.exists()) return;
      await cgroup.kill();
      await cgroup.remove();
    },
    minOomScoreAdj: () => lowestScore,
    networkUsage: netnsPath => worker.networkUsage(netnsPath),
    async cgroupUsage(path) {
      if (path === "/") return undefined;
      const cgroup = openCgroup(path);
      return cgroup.exists() ? { ...cgroup.usage(), pressure: cgroup.pressure() } : undefined;
    },
    async filesystem(path) {
      let device = devices.get(path);
      if (device === undefined) {
        device = mountOf(path).source;
        devices.set(path, device);
      }
      const { blockSize, blocks, inodes, inodesFree } = statFilesystem(path);
      return { device, sizeBytes: blocks * BigInt(blockSize), inodes, inodesFree };
    },
  };
}

function resolveInRoot(root: string, path: string): string | undefined {
  const rootFd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const fd = openInRoot(rootFd, path === "" ? "." : path, pathOnly);
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes(errnoOf(error) ?? "")) return undefined;
    throw error;
  } finally {
    closeSync(rootFd);
  }
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
