import { rmSync } from "node:fs";
import { join } from "node:path";
import { messageOf, OcidError } from "@ocid/base";
import { readProcess } from "@ocid/host";
import { containerCgroups } from "./container-cgroups.ts";
import { findSystemdRun, launchContainer } from "./container-create.ts";
import type { ContainerRecord, ContainerRestore, ShimFiles } from "./container-files.ts";
import { errorsInLog, refuseWithoutCriu } from "./criu.ts";
import type { OomKills } from "./oom-kills.ts";
import { cgroupOf } from "./process-facts.ts";
import type { InstalledRuntime } from "./runtimes.ts";
import type { CallOptions } from "./types.ts";

export interface RestoreRequest {
  readonly runtime: InstalledRuntime;
  readonly conmonPath: string;
  /** Whether systemd makes the cgroups. */
  readonly systemd: boolean;
  readonly oomKills: OomKills;
  /** Ends what a failure has left of processes, monitor and cgroups. */
  readonly endAll: () => Promise<void>;
  readonly signal?: AbortSignal | undefined;
}

/** FAILED_PRECONDITION where a runtime cannot restore containers here: no criu, or one that cannot work. */
export async function checkRestore({ name, type }: InstalledRuntime, options: CallOptions): Promise<void> {
  if (type !== "oci")
    throw new OcidError(
      "FAILED_PRECONDITION",
      `runtime ${name} cannot restore containers that criu has checkpointed`,
    );
  await refuseWithoutCriu("restore containers", options);
}

/** Has a monitor restore a container that waits for it. A failure leaves it waiting, and nothing of its processes. */
export async function restoreContainer(
  shim: ShimFiles,
  record: ContainerRecord & { readonly restore: ContainerRestore },
  { runtime, conmonPath, systemd, oomKills, endAll, signal }: RestoreRequest,
): Promise<void> {
  const { id, restore, ...rest } = record;
  await checkRestore(runtime, { signal });
  const spec = shim.readSpec(id);
  const launch = { id, ...restore, runtimeHandler: runtime.name, spec, logPath: record.logPath };
  await shim.writeRecord({ ...record, phase: "restoring" });
  try {
    await launchContainer(
      shim,
      { id, ...rest },
      {
        conmonPath,
        systemdRunPath: systemd ? findSystemdRun() : undefined,
        runtime,
        launch,
        cgroups: containerCgroups(id, spec.linux.cgroupsPath, systemd),
        signal,
        oomKills: systemd ? oomKills : undefined,
      },
    );
    shim.noteStarted(id);
  } catch (error) {
    const reason = errorsInLog(join(shim.of(id).bundle, "restore.log"));
    const said = [messageOf(error), reason]
      .filter(text => text !== "")
      .join("; criu: ")
      .replace(/\s+/g, " ");
    await undoRestore(shim, record, endAll);
    throw new OcidError(
      "FAILED_PRECONDITION",
      `container ${id.slice(0, 13)} could not be restored: ${said}`,
      { reason: "RestoreFailed", cause: error },
    );
  }
}

/**
 * Finds out what has become of a restore in whose middle the last program died: one that came to its end is a container
 * like any other, anything else is undone, and the container waits again. A monitor that finds nobody to tell of the
 * restore may end; without it neither the container's log nor its exit code would be kept.
 */
export async function settleRestore(
  shim: ShimFiles,
  record: ContainerRecord,
  hasMonitor: boolean,
  endAll: () => Promise<void>,
): Promise<void> {
  const { id, restore: _, ...rest } = record;
  // The runtime writes it when all processes are there.
  const pid = shim.readPid(shim.of(id).restoredPidFile);
  const process = pid === undefined || !cgroupOf(pid)?.includes(id) ? undefined : readProcess(pid);
  const runs = process !== undefined && hasMonitor;
  if (pid === undefined || !(runs || shim.hasExit(id))) return await undoRestore(shim, record, endAll);
  const init = process && { pid, startTime: process.startTime };
  await shim.writeRecord({ id, ...rest, phase: "created", init });
  shim.noteStarted(id);
}

async function undoRestore(
  shim: ShimFiles,
  record: ContainerRecord,
  endAll: () => Promise<void>,
): Promise<void> {
  await endAll();
  const { bundle, restoredPidFile, monitorPidFile, exit, started, oom, oomKills, killed } = shim.of(
    record.id,
  );
  const left = ["ctl", "winsz", "attach", "restore.log", "stats-restore", "log.json"];
  const verdicts = [oom, oomKills, killed];
  for (const path of [
    restoredPidFile,
    monitorPidFile,
    exit,
    started,
    ...verdicts,
    ...left.map(at => join(bundle, at)),
  ])
    rmSync(path, { recursive: true, force: true });
  await shim.writeRecord({ ...record, phase: "created" });
}
