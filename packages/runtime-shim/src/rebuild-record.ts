import { existsSync } from "node:fs";
import { join } from "node:path";
import { readProcess } from "@ocid/host";
import { type ContainerCgroups, containerCgroups } from "./container-cgroups.ts";
import type { ContainerRecord, ShimFiles } from "./container-files.ts";
import { cgroupOf, commandLine } from "./process-facts.ts";
import { hasRuntimeState, type InstalledRuntime, type Runtimes } from "./runtimes.ts";

/**
 * What a damaged record has said, as far as others know it too: the runtime by whose state directory has the container,
 * the cgroups by the bundle, the first process by its pid and its cgroup, the log by the monitor's arguments.
 */
export function rebuildRecord(
  files: ShimFiles,
  runtimes: Runtimes,
  systemd: boolean,
  id: string,
): ContainerRecord {
  const { pidFile, restoredPidFile, monitorPidFile } = files.of(id);
  const runtime = runtimeWith(runtimes, id);
  const pid = files.readPid(pidFile) ?? files.readPid(restoredPidFile);
  const cgroup = pid === undefined ? undefined : cgroupOf(pid);
  const process = cgroup?.includes(id) ? readProcess(pid!) : undefined;
  const monitor = files.readPid(monitorPidFile);
  const argv = monitor === undefined ? "" : commandLine(monitor);
  const startFifo = runtime && join(runtime.root, id, "exec.fifo");
  const cgroups = cgroupsOf(files, systemd, id);
  return {
    id,
    handler: runtime?.name ?? runtimes.defaultName,
    phase: "created",
    logPath: argv.includes(id) ? /\0k8s-file:([^\0]+)/.exec(argv)?.[1] : undefined,
    init: process && { pid: process.pid, startTime: process.startTime },
    cgroupPath: process ? cgroup : cgroups?.container,
    monitorCgroupPath: cgroups?.monitor,
    startFifo: startFifo !== undefined && existsSync(startFifo) ? startFifo : undefined,
  };
}

function runtimeWith(runtimes: Runtimes, id: string): InstalledRuntime | undefined {
  for (const name of runtimes.names()) {
    try {
      const runtime = runtimes.get(name);
      if (hasRuntimeState(runtime, id)) return runtime;
    } catch {
      // One that is not installed any more cannot be asked.
    }
  }
  return undefined;
}

function cgroupsOf(files: ShimFiles, systemd: boolean, id: string): ContainerCgroups | undefined {
  try {
    return containerCgroups(id, files.readSpec(id).linux.cgroupsPath, systemd);
  } catch {
    return undefined;
  }
}
