import { existsSync, mkdirSync } from "node:fs";
import { KeyedLock, type Logger, OcidError, type Operation, silentLogger, traced } from "@ocid/base";
import type { CgroupUsagePart } from "@ocid/host";
import type { RuntimeProcess, RuntimeResources, RuntimeSpec } from "@ocid/spec";
import { attach } from "./attach.ts";
import { type CheckpointRequest, checkpoint } from "./checkpoint.ts";
import { createContainer } from "./container-create.ts";
import { ContainerEnd } from "./container-end.ts";
import { ShimFiles } from "./container-files.ts";
import { ContainerStates } from "./container-state.ts";
import { type ContainerMeasurements, type ContainerUsage, UsageReader } from "./container-usage.ts";
import { execSync } from "./exec.ts";
import { execSession } from "./exec-session.ts";
import { ExitWatch } from "./exit-watch.ts";
import { FirstProcesses } from "./first-processes.ts";
import { tellMonitor } from "./monitor.ts";
import { OomKills } from "./oom-kills.ts";
import { rebuildRecord } from "./rebuild-record.ts";
import { checkRestore } from "./restore.ts";
import { Restores } from "./restores.ts";
import type { RuntimeFeatures } from "./runtime-features.ts";
import { type InstalledRuntime, Runtimes, runRuntime } from "./runtimes.ts";
import type {
  CallOptions,
  ContainerState,
  CreatedContainer,
  ExecResult,
  ExecSyncRequest,
  ExitEvent,
  LaunchRequest,
  RuntimeHandler,
  SessionStreams,
  ShimOptions,
} from "./types.ts";
import { updateResources } from "./update-resources.ts";

/** How often containers are looked at whose monitor may have been killed; ends that monitors see are told at once. */
const orphanCheckMs = 5_000;

/** Opens the shim on its state directory; containers that earlier programs launched from it are found. */
export async function openRuntimeShim(
  options: ShimOptions & { readonly logger?: Logger },
): Promise<RuntimeShim> {
  const shim = new RuntimeShim(options);
  await shim.mendRecords();
  await shim.settleRestores();
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
  readonly #oomKills: OomKills;
  readonly #states: ContainerStates;
  readonly #end: ContainerEnd;
  readonly #restores: Restores;
  readonly #usages: UsageReader;
  readonly #firstProcesses: FirstProcesses;

  /** @internal */
  constructor(options: ShimOptions & { readonly logger?: Logger }) {
    this.#files = new ShimFiles(options.stateDir, options.runDir);
    mkdirSync(this.#files.containers, { recursive: true, mode: 0o700 });
    this.#runtimes = new Runtimes(
      options.runtimes,
      options.defaultRuntime,
      this.#files.runtimes,
      options.conmonPath,
    );
    this.#systemd = options.cgroupDriver === "systemd";
    this.#logger = options.logger ?? silentLogger;
    this.#oomKills = new OomKills(this.#files);
    this.#watch = new ExitWatch(this.#files, this.#oomKills);
    this.#states = new ContainerStates(this.#files, this.#runtimes, this.#oomKills, this.#logger);
    this.#end = new ContainerEnd(this.#files, this.#states, this.#watch);
    this.#restores = new Restores(
      this.#files,
      this.#runtimes,
      this.#systemd,
      this.#oomKills,
      (id, runtime) => this.#end.endAll(id, runtime),
      id => this.#states.monitorOf(id) !== undefined,
    );
    this.#usages = new UsageReader(this.#files);
    this.#firstProcesses = new FirstProcesses(this.#files);
    this.#orphans = setInterval(() => this.#states.noteUnseenEnds(), orphanCheckMs).unref();
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

  /** @internal What was being restored when the last program died is there by now, or waits for its restore again. */
  async settleRestores(): Promise<void> {
    await this.#restores.settleAll(this.#logger);
  }

  /** Adds runtime handlers, and changes those of the same name for containers made from now on. */
  configure(runtimes: ShimOptions["runtimes"]): void {
    this.#runtimes.configure(runtimes);
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

  /** FAILED_PRECONDITION with the reason where this node cannot restore containers with a handler. */
  async checkRestore(handler: string, options: CallOptions = {}): Promise<void> {
    await checkRestore(this.#runtimes.get(handler), options);
  }

  /**
   * Makes a container that waits to be started; one that is to be restored has no process before. A failure leaves
   * nothing; ALREADY_EXISTS when the id is taken.
   */
  async create(launch: LaunchRequest, options: CallOptions = {}): Promise<CreatedContainer> {
    const { id } = launch;
    return await this.#locks.run(id, async () => {
      const runtime = this.#runtimes.get(launch.runtimeHandler);
      return await createContainer(this.#files, {
        launch,
        runtime,
        conmonPath: this.#runtimes.conmonPath(runtime.name),
        systemd: this.#systemd,
        oomKills: this.#oomKills,
        forget: () => this.#watch.forget(id),
        undo: () =>
          this.#undo(id, runtime).catch(error =>
            this.#logger.error("cannot clear away a container that could not be created", {
              container: id,
              error,
            }),
          ),
        signal: options.signal,
      });
    });
  }

  /** Lets a container go, or restores it: a failure to restore (FAILED_PRECONDITION) leaves it created. */
  async start(id: string, options: CallOptions = {}): Promise<void> {
    await this.#locks.run(id, async () => {
      const record = this.#files.getRecord(id);
      const state = await this.#states.of(record);
      if (state.status !== "created")
        throw new OcidError(
          "FAILED_PRECONDITION",
          `container ${id} cannot be started: it is ${state.status}`,
        );
      if (record.restore) return await this.#restores.run({ ...record, restore: record.restore });
      await runRuntime(this.#runtimes.get(record.handler), ["start", id], options);
      if (record.startFifo === undefined) this.#files.noteStarted(id);
    });
  }

  async state(id: string): Promise<ContainerState> {
    return await this.#states.of(this.#files.getRecord(id));
  }

  /** Stops a container: its stop signal, then after `timeoutMs` SIGKILL to all that is in it. Returns when it has ended. */
  async stop(
    id: string,
    request: { readonly stopSignal: string; readonly timeoutMs: number },
    options: CallOptions = {},
  ): Promise<void> {
    using _abandoned = this.#restores.abandon(id);
    const record = this.#files.findRecord(id);
    if (!record) return;
    // It may be restored just now, and then it has a process to stop.
    if (record.restore && (await this.#locks.run(id, () => this.#restores.end(id)))) return;
    await this.#end.stop(this.#files.getRecord(id), request, options.signal);
  }

  /** Removes a container with monitor, cgroups and files, killing what runs. What is gone already is no error. */
  async remove(id: string): Promise<void> {
    using _abandoned = this.#restores.abandon(id);
    await this.#locks.run(id, async () => {
      // Without a record too: somebody may have removed it, and left the exit file and the runtime's own state.
      const record = this.#files.findRecord(id);
      await this.#undo(id, this.#runtimes.get(record?.handler ?? ""));
    });
  }

  async execSync(id: string, request: ExecSyncRequest, options: CallOptions = {}): Promise<ExecResult> {
    const runtime = await this.#states.runtimeOfRunning(id);
    return await traced(execOperation("runtime.execSync", runtime, id), () =>
      execSync(this.#files, runtime, id, request, options),
    );
  }

  /** Runs a process in a container with streams; when the signal is aborted it is killed with all that it started. */
  async exec(
    id: string,
    process: RuntimeProcess,
    streams: SessionStreams,
    options: CallOptions = {},
  ): Promise<{ readonly exitCode: number }> {
    const runtime = await this.#states.runtimeOfRunning(id);
    return await traced(execOperation("runtime.exec", runtime, id), () =>
      execSession(this.#files, runtime, id, process, streams, options),
    );
  }

  /** Joins the container's own streams until it ends or the signal is aborted; the container goes on. */
  async attach(id: string, streams: SessionStreams, options: CallOptions = {}): Promise<void> {
    await this.#states.runtimeOfRunning(id);
    await attach(this.#files.of(id), streams, options);
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

  /** Changes limits; those that are not named stay. */
  async updateResources(id: string, resources: RuntimeResources, options: CallOptions = {}): Promise<void> {
    const runtime = this.#runtimes.get(this.#files.getRecord(id).handler);
    await updateResources(this.#files, runtime, id, resources, options);
  }

  /** CPU, memory and swap that it uses, and what else is asked for (default: all); FAILED_PRECONDITION when it has ended. */
  async usage(
    id: string,
    { parts }: { readonly parts?: readonly CgroupUsagePart[] } = {},
  ): Promise<ContainerUsage> {
    return this.#usages.read(id, parts);
  }

  /** What monitoring wants of it; FAILED_PRECONDITION when it has ended. */
  async measure(id: string): Promise<ContainerMeasurements> {
    return await this.#usages.measure(id);
  }

  /**
   * Writes the state of a running container's processes below a directory; the container stands still until `then` has
   * ended, and goes on. FAILED_PRECONDITION where the node cannot (no criu, or criu's own reason), or it does not run.
   */
  async checkpoint(id: string, request: CheckpointRequest, options: CallOptions = {}): Promise<void> {
    const runtime = await this.#states.runtimeOfRunning(id);
    await checkpoint(runtime, id, request, options);
  }

  /** The configuration that the container was created with. */
  async specOf(id: string): Promise<RuntimeSpec> {
    this.#files.getRecord(id);
    return this.#files.readSpec(id);
  }

  /** How the container's first process was set up, to base an exec on. */
  async processOf(id: string): Promise<RuntimeProcess> {
    return this.#firstProcesses.of(id);
  }

  /** Exits as they happen, after those that happened before; ends with the signal. */
  exits(options: CallOptions): AsyncIterable<ExitEvent> {
    return this.#watch.events(options.signal);
  }

  async #undo(id: string, runtime: InstalledRuntime): Promise<void> {
    await this.#end.undo(id, runtime);
    this.#usages.forget(id);
    this.#firstProcesses.forget(id);
  }
}

function execOperation(name: string, runtime: InstalledRuntime, container: string): Operation {
  return { name, attributes: { runtime: runtime.name, container } };
}
