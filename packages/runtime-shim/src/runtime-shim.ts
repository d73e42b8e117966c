import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  KeyedLock,
  type Logger,
  OcidError,
  type Operation,
  silentLogger,
  traced,
  writeAtomic,
} from "@ocid/base";
import {
  type Cgroup,
  type CgroupUsagePart,
  findExecutable,
  isRunning,
  minOomScoreAdj,
  openCgroup,
  type ProcessIdentity,
  readOomKills,
  readProcess,
  signalNumber,
  signalProcess,
  waitForProcessEnd,
} from "@ocid/host";
import type { RuntimeProcess, RuntimeResources, RuntimeSpec } from "@ocid/spec";
import { attach } from "./attach.ts";
import { type CheckpointRequest, checkpoint } from "./checkpoint.ts";
import { configJson } from "./config-json.ts";
import { containerCgroups } from "./container-cgroups.ts";
import { type ContainerRecord, ShimFiles, unknownExitCode } from "./container-files.ts";
import { type ContainerMeasurements, type ContainerUsage, UsageReader } from "./container-usage.ts";
import { execSync } from "./exec.ts";
import { execSession } from "./exec-session.ts";
import { ExitWatch } from "./exit-watch.ts";
import { launchMonitor, protectFromOom, tellMonitor } from "./monitor.ts";
import { giveStdio } from "./pod-stdio.ts";
import { cgroupOf, commandLine } from "./process-facts.ts";
import { rebuildRecord } from "./rebuild-record.ts";
import type { RuntimeFeatures } from "./runtime-features.ts";
import { hasRuntimeState, type InstalledRuntime, Runtimes, runRuntime, runtimeStatus } from "./runtimes.ts";
import type {
  CallOptions,
  ContainerState,
  ExecResult,
  ExecSyncRequest,
  ExitEvent,
  LaunchRequest,
  RuntimeHandler,
  SessionStreams,
  ShimOptions,
} from "./types.ts";

const killTimeoutMs = 30_000;
/** How often containers are looked at whose monitor may have been killed; ends that monitors see are told at once. */
const orphanCheckMs = 5_000;

/** Opens the shim on its state directory; containers that earlier programs launched from it are found. */
export async function openRuntimeShim(
  options: ShimOptions & { readonly logger?: Logger },
): Promise<RuntimeShim> {
  const shim = new RuntimeShim(options);
  await shim.mendRecords();
  return shim;
}

/**
 * Makes containers with an OCI runtime and conmon, and tells what has become of them. Nothing is known only here:
 * another program, or this one after a restart, goes on with the same directory.
 */
export class RuntimeShim implements AsyncDisposable {
  readonly #files: ShimFiles;
  readonly #runtimes: Runtimes;
  readonly #systemd: boolean;
  readonly #logger: Logger;
  readonly #watch: ExitWatch;
  readonly #orphans: NodeJS.Timeout;
  readonly #locks = new KeyedLock();
  readonly #usages = new UsageReader();
  /** Of containers whose usage is asked for; a container's cgroup stays where it is. */
  readonly #cgroups = new Map<string, Cgroup>();

  /** @internal */
  constructor(options: ShimOptions & { readonly logger?: Logger }) {
    this.#files = new ShimFiles(options.stateDir);
    mkdirSync(this.#files.containers, { recursive: true, mode: 0o700 });
    this.#runtimes = new Runtimes(
      options.runtimes,
      options.defaultRuntime,
      this.#files.runtimes,
      options.conmonPath,
    );
    this.#systemd = options.cgroupDriver === "systemd";
    this.#logger = options.logger ?? silentLogger;
    this.#watch = new ExitWatch(this.#files);
    this.#orphans = setInterval(() => this.#lookAtOrphans(), orphanCheckMs).unref();
  }

  /** Stops watching; containers go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#orphans);
    this.#watch[Symbol.dispose]();
  }

  /** @internal Makes damaged records anew; each would keep its container from being stopped and removed. */
  async mendRecords(): Promise<void> {
    for (const id of this.#files.list()) {
      try {
        this.#files.findRecord(id);
      } catch (error) {
        const record = rebuildRecord(this.#files, this.#runtimes, this.#systemd, id);
        await this.#files.replaceRecord(record);
        this.#logger.error("a record of a container was damaged, and is made anew of what others know", {
          ...{ container: id, handler: record.handler, pid: record.init?.pid, error },
        });
      }
    }
  }

  /** Adds runtime handlers, and changes those of the same name for containers made from now on. */
  configure(runtimes: ShimOptions["runtimes"]): void {
    this.#runtimes.configure(runtimes);
  }

  /** A monitor that was killed tells nothing; what is noted here is told by the watch. */
  #lookAtOrphans(): void {
    for (const id of this.#files.list()) {
      if (this.#hasMonitor(id) || this.#files.hasExit(id)) continue;
      try {
        const init = this.#files.findRecord(id)?.init;
        if (init && !isRunning(init)) this.#files.noteExit(id, unknownExitCode);
      } catch (error) {
        this.#logger.warn("cannot look at a container without a monitor", { container: id, error });
      }
    }
  }

  /** The configured runtimes by name, the default one by the empty name too, and what each can do. */
  async handlers(): Promise<readonly (RuntimeFeatures & RuntimeHandler)[]> {
    return await Promise.all(
      ["", ...this.#runtimes.names()].map(async name => ({
        name,
        annotations: this.#runtimes.annotations(name),
        ...(await this.#runtimes.features(name)),
      })),
    );
  }

  async version(handler = ""): Promise<{ readonly name: string; readonly version: string }> {
    const { name } = this.#runtimes.get(handler);
    return { name, version: await this.#runtimes.version(handler) };
  }

  async list(): Promise<readonly string[]> {
    return this.#files.list();
  }

  /** Makes a container that waits to be started. A failure leaves nothing; ALREADY_EXISTS when the id is taken. */
  async create(launch: LaunchRequest, options: CallOptions = {}): Promise<{ readonly pid: number }> {
    return await this.#locks.run(launch.id, async () => {
      const files = this.#files.of(launch.id);
      const runtime = this.#runtimes.get(launch.runtimeHandler);
      const conmonPath = this.#runtimes.conmonPath(runtime.name);
      const systemdRunPath = this.#systemd ? findSystemdRun() : undefined;
      if (existsSync(files.directory))
        throw new OcidError("ALREADY_EXISTS", `container ${launch.id} exists already`);
      const cgroups = containerCgroups(launch.id, launch.spec.linux.cgroupsPath, this.#systemd);
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
        await this.#files.writeRecord(record);
        // Not synced: whatever loses it, a machine that goes down, ends the container with it.
        writeFileSync(files.config, configJson(launch.spec), { flag: "wx", mode: 0o600 });
        rmSync(files.exit, { force: true });
        this.#watch.forget(launch.id);
        const { pid } = await launchMonitor(this.#files, files, {
          conmonPath,
          systemdRunPath,
          runtime,
          launch,
          cgroups,
          signal: options.signal,
        });
        giveStdio(pid, launch.spec);
        const monitor = this.#files.readPid(files.monitorPidFile);
        if (monitor !== undefined) protectFromOom(monitor, Math.max(-999, minOomScoreAdj()));
        const process = readProcess(pid);
        const startFifo = join(runtime.root, launch.id, "exec.fifo");
        await this.#files.writeRecord({
          ...record,
          phase: "created",
          init: process && { pid, startTime: process.startTime },
          cgroupPath: record.cgroupPath ?? cgroupOf(pid),
          startFifo: existsSync(startFifo) ? startFifo : undefined,
        });
        return { pid };
      } catch (error) {
        await this.#undo(launch.id, runtime).catch(undoError =>
          this.#logger.error("cannot clear away a container that could not be created", {
            container: launch.id,
            error: undoError,
          }),
        );
        throw error;
      }
    });
  }

  async start(id: string, options: CallOptions = {}): Promise<void> {
    await this.#locks.run(id, async () => {
      const record = this.#files.getRecord(id);
      const state = await this.#stateOf(record);
      if (state.status !== "created")
        throw new OcidError(
          "FAILED_PRECONDITION",
          `container ${id} cannot be started: it is ${state.status}`,
        );
      await runRuntime(this.#runtimes.get(record.handler), ["start", id], options);
      if (record.startFifo === undefined) this.#files.noteStarted(id);
    });
  }

  async state(id: string): Promise<ContainerState> {
    return await this.#stateOf(this.#files.getRecord(id));
  }

  async #stateOf(record: ContainerRecord): Promise<ContainerState> {
    const { id } = record;
    const exit = this.#files.readExit(id);
    if (exit)
      return {
        status: "stopped",
        ...exit,
        oomKilled: exit.oomKilled || this.#wasOomKilled(record, exit.exitCode),
      };
    if (!record.init) return { status: "unknown" };
    if (isRunning(record.init))
      return { status: (await this.#isWaiting(record)) ? "created" : "running", pid: record.init.pid };
    // The monitor is about to write the exit code; without one (killed, or after a reboot) nobody will.
    if (this.#hasMonitor(id)) return { status: "running", pid: record.init.pid };
    this.#files.noteExit(id, unknownExitCode);
    const noted = this.#files.readExit(id);
    if (!noted) return { status: "unknown" };
    return { status: "stopped", ...noted };
  }

  /** Whether its own monitor is there: after a reboot the pid may be another one's. */
  #hasMonitor(id: string): boolean {
    return this.#monitorOf(id) !== undefined;
  }

  #monitorOf(id: string): ProcessIdentity | undefined {
    const pid = this.#files.readPid(this.#files.of(id).monitorPidFile);
    const process = pid === undefined ? undefined : readProcess(pid);
    return process?.name === "conmon" && commandLine(process.pid).includes(id) ? process : undefined;
  }

  /** Stops a container: its stop signal, then after `timeoutMs` SIGKILL to all that is in it. Returns when it has ended. */
  async stop(
    id: string,
    request: { readonly stopSignal: string; readonly timeoutMs: number },
    options: CallOptions = {},
  ): Promise<void> {
    const record = this.#files.findRecord(id);
    if (!record) return;
    const state = await this.#stateOf(record);
    if (state.status === "stopped") return;
    if (state.status === "running" && request.timeoutMs > 0) {
      signalProcess(record.init!, signalNumber(request.stopSignal));
      if (await this.#ended(record, request.timeoutMs, options.signal)) return;
    }
    await this.#killAll(record);
    if (await this.#ended(record, killTimeoutMs, options.signal)) return;
    if (record.init && isRunning(record.init))
      throw new OcidError(
        "DEADLINE_EXCEEDED",
        `container ${id} did not end within ${killTimeoutMs / 1000} s of being killed; its process ${record.init.pid} is in state ${readProcess(record.init.pid)?.state}`,
      );
  }

  /** Waits for a container's end: that its monitor tells of, or that the kernel shows when the monitor was killed. */
  async #ended(record: ContainerRecord, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    for (const deadline = performance.now() + timeoutMs; ; ) {
      const left = deadline - performance.now();
      if (await this.#watch.wait(record.id, Math.max(0, Math.min(left, 1_000)), signal)) return true;
      if (record.init && !isRunning(record.init) && !this.#hasMonitor(record.id)) {
        this.#files.noteExit(record.id, unknownExitCode);
        return true;
      }
      if (left <= 0) return false;
    }
  }

  /** Removes a container with monitor, cgroups and files, killing what runs. What is gone already is no error. */
  async remove(id: string): Promise<void> {
    await this.#locks.run(id, async () => {
      // Without a record too: somebody may have removed it, and left the exit file and the runtime's own state.
      const record = this.#files.findRecord(id);
      await this.#undo(id, this.#runtimes.get(record?.handler ?? ""));
    });
  }

  async execSync(id: string, request: ExecSyncRequest, options: CallOptions = {}): Promise<ExecResult> {
    const runtime = await this.#runtimeOfRunning(id);
    return await traced(execOperation("runtime.execSync", runtime, id), () =>
      execSync(this.#files.of(id), runtime, id, request, options),
    );
  }

  /** Runs a process in a container with streams; when the signal is aborted it is killed with all that it started. */
  async exec(
    id: string,
    process: RuntimeProcess,
    streams: SessionStreams,
    options: CallOptions = {},
  ): Promise<{ readonly exitCode: number }> {
    const runtime = await this.#runtimeOfRunning(id);
    return await traced(execOperation("runtime.exec", runtime, id), () =>
      execSession(this.#files.of(id), runtime, id, process, streams, options),
    );
  }

  /** Joins the container's own streams until it ends or the signal is aborted; the container goes on. */
  async attach(id: string, streams: SessionStreams, options: CallOptions = {}): Promise<void> {
    await this.#runtimeOfRunning(id);
    await attach(this.#files.of(id), streams, options);
  }

  async #runtimeOfRunning(id: string): Promise<InstalledRuntime> {
    const record = this.#files.getRecord(id);
    const state = await this.#stateOf(record);
    if (state.status !== "running")
      throw new OcidError(
        "FAILED_PRECONDITION",
        `container ${id} is not running (it is ${state.status}), so nothing can be run in it or joined`,
      );
    return this.#runtimes.get(record.handler);
  }

  /** Has the monitor open the log file again, after it was renamed. */
  async reopenLog(id: string): Promise<void> {
    const record = this.#files.getRecord(id);
    if (record.logPath === undefined)
      throw new OcidError("FAILED_PRECONDITION", `container ${id} has no log`);
    tellMonitor(this.#files.of(id), "2 0 0\n");
    // The file is made again by the monitor; the caller may look for it at once.
    for (let wait = 1; wait < 200 && !existsSync(record.logPath); wait *= 2)
      await new Promise(resolve => setTimeout(resolve, wait));
  }

  async updateResources(id: string, resources: RuntimeResources, options: CallOptions = {}): Promise<void> {
    const record = this.#files.getRecord(id);
    await runRuntime(this.#runtimes.get(record.handler), ["update", "--resources", "-", id], {
      ...options,
      stdin: JSON.stringify(resources),
    });
    const spec = this.#files.readSpec(id);
    const merged = {
      ...spec.linux.resources,
      ...resources,
      memory: { ...spec.linux.resources?.memory, ...resources.memory },
      cpu: { ...spec.linux.resources?.cpu, ...resources.cpu },
    };
    await writeAtomic(
      this.#files.of(id).config,
      JSON.stringify({ ...spec, linux: { ...spec.linux, resources: merged } }),
    );
  }

  /** CPU, memory and swap that it uses, and what else is asked for (default: all); FAILED_PRECONDITION when it has ended. */
  async usage(
    id: string,
    { parts }: { readonly parts?: readonly CgroupUsagePart[] } = {},
  ): Promise<ContainerUsage> {
    return this.#usages.read(id, this.#liveCgroup(id), parts);
  }

  /** What monitoring wants of it; FAILED_PRECONDITION when it has ended. */
  async measure(id: string): Promise<ContainerMeasurements> {
    return await this.#usages.measure(id, this.#liveCgroup(id), this.#files.getRecord(id).init?.pid);
  }

  #liveCgroup(id: string): Cgroup {
    const cgroup = this.#cgroups.get(id) ?? cgroupFor(this.#files.getRecord(id));
    if (!cgroup?.exists()) {
      this.#cgroups.delete(id);
      throw new OcidError("FAILED_PRECONDITION", `container ${id} has no cgroup any more; it has ended`);
    }
    this.#cgroups.set(id, cgroup);
    return cgroup;
  }

  /**
   * Writes the state of a running container's processes below a directory; the container stands still until `then` has
   * ended, and goes on. FAILED_PRECONDITION where the node cannot (no criu, or criu's own reason), or it does not run.
   */
  async checkpoint(id: string, request: CheckpointRequest, options: CallOptions = {}): Promise<void> {
    const runtime = await this.#runtimeOfRunning(id);
    await checkpoint(runtime, id, request, options);
  }

  /** The configuration that the container was created with. */
  async specOf(id: string): Promise<RuntimeSpec> {
    this.#files.getRecord(id);
    return this.#files.readSpec(id);
  }

  /** How the container's first process was set up, to base an exec on. */
  async processOf(id: string): Promise<RuntimeProcess> {
    this.#files.getRecord(id);
    return this.#files.readSpec(id).process;
  }

  /** Exits as they happen, after those that happened before; ends with the signal. */
  exits(options: CallOptions): AsyncIterable<ExitEvent> {
    return this.#watch.events(options.signal);
  }

  /** Where the runtime has no fifo to tell by, it is asked until it was started. */
  async #isWaiting(record: ContainerRecord): Promise<boolean> {
    if (record.startFifo !== undefined) return existsSync(record.startFifo);
    if (existsSync(this.#files.of(record.id).started)) return false;
    const status = await runtimeStatus(this.#runtimes.get(record.handler), record.id);
    if (status === "running") this.#files.noteStarted(record.id);
    return status === "created";
  }

  #wasOomKilled(record: ContainerRecord, exitCode: number): boolean {
    if (exitCode !== 137) return false;
    const cgroup = cgroupFor(record);
    return cgroup?.exists() === true && readOomKills(cgroup) > 0n;
  }

  async #killAll(record: ContainerRecord): Promise<void> {
    // A frozen monitor neither reaps the container nor writes its exit code.
    if (record.monitorCgroupPath !== undefined) openCgroup(record.monitorCgroupPath).thaw();
    const cgroup = cgroupFor(record);
    if (cgroup?.exists()) await cgroup.kill({ timeoutMs: killTimeoutMs });
    else if (record.init) signalProcess(record.init, 9);
  }

  /** Takes away whatever there is of a container, in whichever state it was left. */
  async #undo(id: string, runtime: InstalledRuntime): Promise<void> {
    const files = this.#files.of(id);
    const record = this.#files.findRecord(id);
    if (record) await this.#killAll(record);
    if (hasRuntimeState(runtime, id))
      await runRuntime(runtime, ["delete", "--force", id]).catch(error => {
        if (hasRuntimeState(runtime, id)) throw error;
      });
    const monitor = this.#monitorOf(id);
    if (monitor) {
      if (!(await waitForProcessEnd(monitor, { timeoutMs: 2_000 }))) signalProcess(monitor, 9);
      await waitForProcessEnd(monitor, { timeoutMs: 5_000 });
    }
    for (const path of [record?.monitorCgroupPath, record?.cgroupPath]) {
      if (path === undefined) continue;
      const cgroup = openCgroup(path);
      if (cgroup.exists()) await cgroup.kill({ timeoutMs: killTimeoutMs });
      await cgroup.remove();
    }
    rmSync(join(this.#files.sockets, id), { recursive: true, force: true });
    rmSync(files.directory, { recursive: true, force: true });
    // Last, so that an interrupted removal still shows a container that has ended.
    rmSync(files.exit, { recursive: true, force: true });
    this.#watch.forget(id);
    this.#usages.forget(id);
    this.#cgroups.delete(id);
  }
}

function cgroupFor(record: ContainerRecord): Cgroup | undefined {
  return record.cgroupPath === undefined || record.cgroupPath === "/"
    ? undefined
    : openCgroup(record.cgroupPath);
}

function findSystemdRun(): string {
  const path = findExecutable("systemd-run");
  if (path === undefined)
    throw new OcidError(
      "FAILED_PRECONDITION",
      "systemd-run is not installed, which the cgroup driver systemd needs; set runtime.cgroup_driver to cgroupfs",
    );
  return path;
}

function execOperation(name: string, runtime: InstalledRuntime, container: string): Operation {
  return { name, attributes: { runtime: runtime.name, container } };
}
