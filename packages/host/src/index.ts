export { blockDeviceName } from "./block-device.ts";
export { boundingCapabilities, minOomScoreAdj } from "./capabilities.ts";
export { type Cgroup, openCgroup } from "./cgroup.ts";
export { type CgroupDetails, type CgroupReader, readCgroupDetails } from "./cgroup-details.ts";
export type { DeviceIo } from "./cgroup-io.ts";
export { type CgroupLayout, detectCgroups } from "./cgroup-layout.ts";
export {
  type CgroupPressure,
  type Pressure,
  type PressureLine,
  readCgroupPressure,
} from "./cgroup-pressure.ts";
export type { CgroupResources } from "./cgroup-resources.ts";
export {
  type CgroupIo,
  type CgroupUsage,
  type CgroupUsagePart,
  readCgroupUsage,
  readOomKills,
} from "./cgroup-usage.ts";
export { withoutMountsBelow } from "./clone-tree.ts";
export { provideEmbedded, provideKoffi } from "./embedded.ts";
export { errnoOf, systemError } from "./errno.ts";
export { idmappedMount } from "./idmapped-mount.ts";
export { type FileLock, type LockMode, type LockOptions, lockFile, tryLockFile } from "./lock-file.ts";
export { readLostOomKills } from "./lost-oom-kills.ts";
export { limitMalloc, type MallocLimits, trimMalloc } from "./malloc.ts";
export {
  bindMount,
  type FilesystemState,
  isMountPoint,
  listMounts,
  type MountEntry,
  type MountFlag,
  type MountRequest,
  makePrivate,
  mount,
  mountOf,
  statFilesystem,
  type UnmountOptions,
  unmount,
  unmountInThread,
} from "./mount.ts";
export type { NetworkInterfaceUsage } from "./namespace-calls.ts";
export {
  type CallOptions,
  type IdMapping,
  launchNamespaceWorker,
  type NamespaceRequest,
  type NamespaceWorker,
  type PodNamespaces,
  removeNamespaces,
} from "./namespaces.ts";
export { deviceNumbers, makeNode, setTimes, setTimesFd } from "./node.ts";
export { mountOverlay, type OverlayRequest } from "./overlay.ts";
export {
  isRunning,
  type ProcessIdentity,
  type ProcessState,
  readProcess,
  signalProcess,
  waitForProcessEnd,
} from "./process-state.ts";
export { type ProcessUsage, readOpenFilesLimit, readProcessUsage } from "./process-usage.ts";
export {
  assignProject,
  type ProjectQuota,
  readProject,
  readProjectQuota,
  requireProjectQuotas,
  setProjectLimits,
} from "./project-quota.ts";
export { openPseudoTerminal, type PseudoTerminal } from "./pseudo-terminal.ts";
export { removeTree } from "./remove-tree.ts";
export {
  cleanEnvironment,
  findExecutable,
  type RunRequest,
  type RunResult,
  runProcess,
} from "./run-process.ts";
export { openBeneath, openInRoot } from "./safe-open.ts";
export { connectSeqpacket, type SeqpacketOptions } from "./seqpacket.ts";
export { notifyService } from "./service-notify.ts";
export { signalNumber } from "./signal-number.ts";
export {
  type ProcessEnd,
  type SpawnedProcess,
  type SpawnRequest,
  type Stdio,
  spawnProcess,
} from "./spawn-process.ts";
export { becomeSubreaper } from "./subreaper.ts";
export { beginWriting, type SyncOptions, syncFilesystem, syncFilesystemNow } from "./sync.ts";
export { launchWorker } from "./worker.ts";
export { getXattr, listXattrs, removeXattr, setXattr } from "./xattr.ts";
