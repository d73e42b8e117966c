import { existsSync, readdirSync } from "node:fs";
import { type Logger, OcidError } from "@ocid/base";
import { isRunning, type ProcessIdentity, readProcess } from "@ocid/host";
import { type ContainerRecord, type ShimFiles, unknownExitCode } from "./container-files.ts";
import type { OomKills } from "./oom-kills.ts";
import { commandLine } from "./process-facts.ts";
import { type InstalledRuntime, type Runtimes, runtimeStatus } from "./runtimes.ts";
import type { ContainerState } from "./types.ts";

/** What has become of containers: derived from the kernel and the exit files at each look, never remembered. */
export class ContainerStates {
  readonly #files: ShimFiles;
  readonly #runtimes: Runtimes;
  readonly #oomKills: OomKills;
  readonly #logger: Logger;

  constructor(files: ShimFiles, runtimes: Runtimes, oomKills: OomKills, logger: Logger) {
    this.#files = files;
    this.#runtimes = runtimes;
    this.#oomKills = oomKills;
    this.#logger = logger;
  }

  async of(record: ContainerRecord): Promise<ContainerState> {
    const { id } = record;
    const exit = this.#oomKills.exitOf(id);
    if (exit) return { status: "stopped", ...exit };
    if (record.restore) return { status: "created" };
    if (!record.init) return { status: "unknown" };
    if (isRunning(record.init))
      return { status: (await this.#isWaiting(record)) ? "created" : "running", pid: record.init.pid };
    // The monitor is about to write the exit code; without one (killed, or after a reboot) nobody will.
    if (this.monitorOf(id)) return { status: "running", pid: record.init.pid };
    this.#files.noteExit(id, unknownExitCode);
    const noted = this.#files.readExit(id);
    if (!noted) return { status: "unknown" };
    return { status: "stopped", ...noted };
  }

  /** The runtime of a container in which something is to be done; FAILED_PRECONDITION when it does not run. */
  async runtimeOfRunning(id: string): Promise<InstalledRuntime> {
    const record = this.#files.getRecord(id);
    const state = await this.of(record);
    if (state.status !== "running")
      throw new OcidError(
        "FAILED_PRECONDITION",
        `container ${id} is not running (it is ${state.status}), so nothing can be run in it or joined`,
      );
    return this.#runtimes.get(record.handler);
  }

  /** Its own monitor, while it is there: after a reboot the pid may be another one's. */
  monitorOf(id: string): ProcessIdentity | undefined {
    const pid = this.#files.readPid(this.#files.of(id).monitorPidFile);
    return pid === undefined ? undefined : monitorAt(pid, id);
  }

  /** The monitor of a container whose files somebody has removed: it would still write its end down. Looks at all processes. */
  findMonitor(id: string): ProcessIdentity | undefined {
    for (const name of readdirSync("/proc")) {
      const process = /^\d+$/.test(name) ? monitorAt(Number(name), id) : undefined;
      // Another program may have a container of the same id.
      if (process && argumentsOf(process.pid).includes(this.#files.exits)) return process;
    }
    return undefined;
  }

  /** Notes the end of a container whose monitor was killed before it could; whether there is such an end. */
  noteUnseenEnd({ id, init }: ContainerRecord): boolean {
    if (!init || isRunning(init) || this.monitorOf(id)) return false;
    this.#files.noteExit(id, unknownExitCode);
    return true;
  }

  /** A monitor that was killed tells nothing; what is noted here is told by the watch. */
  noteUnseenEnds(): void {
    for (const id of this.#files.list()) {
      if (this.#files.hasExit(id)) continue;
      try {
        const record = this.#files.findRecord(id);
        if (record) this.noteUnseenEnd(record);
      } catch (error) {
        this.#logger.warn("cannot look at a container without a monitor", { container: id, error });
      }
    }
  }

  /** Where the runtime has no fifo to tell by, it is asked until it was started. */
  async #isWaiting(record: ContainerRecord): Promise<boolean> {
    if (record.startFifo !== undefined) return existsSync(record.startFifo);
    if (existsSync(this.#files.of(record.id).started)) return false;
    const status = await runtimeStatus(this.#runtimes.get(record.handler), record.id);
    if (status === "running") this.#files.noteStarted(record.id);
    return status === "created";
  }
}

/** The process, where it is the monitor of a container. */
function monitorAt(pid: number, id: string): ProcessIdentity | undefined {
  const process = readProcess(pid);
  return process?.name === "conmon" && argumentsOf(pid).includes(id) ? process : undefined;
}

const argumentsOf = (pid: number): readonly string[] => commandLine(pid).split("\0");
