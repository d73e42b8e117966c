import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { findExecutable, minOomScoreAdj, readProcess } from "@ocid/host";
import { configJson } from "./config-json.ts";
import { containerCgroups } from "./container-cgroups.ts";
import type { ContainerRecord, ShimFiles } from "./container-files.ts";
import { restorableSpec } from "./criu.ts";
import { launchMonitor, type MonitorRequest, protectFromOom } from "./monitor.ts";
import type { OomKills } from "./oom-kills.ts";
import { giveStdio } from "./pod-stdio.ts";
import { cgroupOf } from "./process-facts.ts";
import type { InstalledRuntime } from "./runtimes.ts";
import type { CreatedContainer, LaunchRequest } from "./types.ts";

export interface CreateRequest {
  readonly launch: LaunchRequest;
  readonly runtime: InstalledRuntime;
  readonly conmonPath: string;
  /** Whether systemd makes the cgroups. */
  readonly systemd: boolean;
  readonly oomKills: OomKills;
  /** Forgets an earlier container of the same id, just before the new one can end. */
  readonly forget: () => void;
  /** Clears away what there is when it fails. */
  readonly undo: () => Promise<void>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Writes a container's record and bundle, and has a monitor make it; it waits to be started. Of one that is to be restored
 * nothing is made yet: a runtime restores and starts in one.
 */
export async function createContainer(shim: ShimFiles, request: CreateRequest): Promise<CreatedContainer> {
  const { launch, runtime, conmonPath, systemd, signal } = request;
  const files = shim.of(launch.id);
  const systemdRunPath = systemd ? findSystemdRun() : undefined;
  if (existsSync(files.directory))
    throw new OcidError("ALREADY_EXISTS", `container ${launch.id} exists already`);
  const cgroups = containerCgroups(launch.id, launch.spec.linux.cgroupsPath, systemd);
  const record: ContainerRecord = {
    id: launch.id,
    handler: runtime.name,
    phase: "creating",
    logPath: launch.logPath,
    init: undefined,
    cgroupPath: cgroups.container,
    monitorCgroupPath: cgroups.monitor,
  };
  try {
    mkdirSync(files.bundle, { recursive: true, mode: 0o700 });
    await shim.writeRecord(record);
    // Not synced: whatever loses it, a machine that goes down, ends the container with it.
    const spec =
      launch.checkpoint === undefined ? launch.spec : restorableSpec(files, runtime.path, launch.spec);
    writeFileSync(files.config, configJson(spec), { flag: "wx", mode: 0o600 });
    rmSync(files.exit, { force: true });
    request.forget();
    if (launch.checkpoint !== undefined) {
      const { name, stdin, stdinOnce, checkpoint } = launch;
      await shim.writeRecord({
        ...record,
        phase: "created",
        restore: { name, stdin, stdinOnce, checkpoint },
      });
      return {};
    }
    return await launchContainer(shim, record, {
      conmonPath,
      systemdRunPath,
      runtime,
      launch,
      cgroups,
      signal,
      oomKills: systemd ? request.oomKills : undefined,
    });
  } catch (error) {
    await request.undo();
    throw error;
  }
}

/** Has a monitor make or restore a container, and writes down what is known of its first process. */
export async function launchContainer(
  shim: ShimFiles,
  record: ContainerRecord,
  request: MonitorRequest & {
    /** Counts kills where systemd takes the count away with the container's scope. */
    readonly oomKills: OomKills | undefined;
  },
): Promise<{ readonly pid: number }> {
  const { launch, runtime } = request;
  const files = shim.of(launch.id);
  request.oomKills?.begin(record);
  const { pid } = await launchMonitor(shim, files, request);
  giveStdio(pid, launch.spec);
  const monitor = shim.readPid(files.monitorPidFile);
  if (monitor !== undefined) protectFromOom(monitor, Math.max(-999, minOomScoreAdj()));
  const process = readProcess(pid);
  const startFifo = join(runtime.root, launch.id, "exec.fifo");
  await shim.writeRecord({
    ...record,
    phase: "created",
    init: process && { pid, startTime: process.startTime },
    cgroupPath: record.cgroupPath ?? cgroupOf(pid),
    startFifo: existsSync(startFifo) ? startFifo : undefined,
  });
  return { pid };
}

/** FAILED_PRECONDITION where it is missing. */
export function findSystemdRun(): string {
  const path = findExecutable("systemd-run");
  if (path === undefined)
    throw new OcidError(
      "FAILED_PRECONDITION",
      "systemd-run is not installed, which the cgroup driver systemd needs; set runtime.cgroup_driver to cgroupfs",
    );
  return path;
}
