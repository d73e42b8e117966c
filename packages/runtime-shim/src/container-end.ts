import { rmSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import {
  isRunning,
  openCgroup,
  readProcess,
  signalNumber,
  signalProcess,
  waitForProcessEnd,
} from "@ocid/host";
import { cgroupOfRecord } from "./container-cgroups.ts";
import type { ContainerRecord, ShimFiles } from "./container-files.ts";
import type { ContainerStates } from "./container-state.ts";
import type { ExitWatch } from "./exit-watch.ts";
import { hasRuntimeState, type InstalledRuntime, runRuntime } from "./runtimes.ts";

const killTimeoutMs = 30_000;

/** Ends containers and clears away what there is of them, in whichever state they were left. */
export class ContainerEnd {
  readonly #files: ShimFiles;
  readonly #states: ContainerStates;
  readonly #watch: ExitWatch;

  constructor(files: ShimFiles, states: ContainerStates, watch: ExitWatch) {
    this.#files = files;
    this.#states = states;
    this.#watch = watch;
  }

  /** See `RuntimeShim.stop`. */
  async stop(
    record: ContainerRecord,
    request: { readonly stopSignal: string; readonly timeoutMs: number },
    signal?: AbortSignal,
  ): Promise<void> {
    const { id, init } = record;
    const state = await this.#states.of(record);
    if (state.status === "stopped") return;
    if (state.status === "running" && request.timeoutMs > 0) {
      const number = signalNumber(request.stopSignal);
      if (number === 9) this.#files.noteKilled(id);
      signalProcess(init!, number);
      if (await this.#ended(record, request.timeoutMs, signal)) return;
    }
    if (init && isRunning(init)) this.#files.noteKilled(id);
    await killAll(record);
    if (await this.#ended(record, killTimeoutMs, signal)) return;
    if (init && isRunning(init))
      throw new OcidError(
        "DEADLINE_EXCEEDED",
        `container ${id} did not end within ${killTimeoutMs / 1000} s of being killed; its process ${init.pid} is in state ${readProcess(init.pid)?.state}`,
      );
  }

  /** Waits for a container's end: that its monitor tells of, or that the kernel shows when the monitor was killed. */
  async #ended(record: ContainerRecord, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    for (const deadline = performance.now() + timeoutMs; ; ) {
      const left = deadline - performance.now();
      if (await this.#watch.wait(record.id, Math.max(0, Math.min(left, 1_000)), signal)) return true;
      if (this.#states.noteUnseenEnd(record)) return true;
      if (left <= 0) return false;
    }
  }

  /** Kills what runs, and removes monitor, cgroups, the runtime's state and all files. */
  async undo(id: string, runtime: InstalledRuntime): Promise<void> {
    const files = this.#files.of(id);
    await this.endAll(id, runtime);
    this.#files.removeRunning(id);
    rmSync(files.directory, { recursive: true, force: true });
    this.#files.removeExit(id);
    this.#watch.forget(id);
  }

  /** Kills what runs, and removes monitor, cgroups and the runtime's state. */
  async endAll(id: string, runtime: InstalledRuntime): Promise<void> {
    const record = this.#files.findRecord(id);
    if (record) await killAll(record);
    if (hasRuntimeState(runtime, id))
      await runRuntime(runtime, ["delete", "--force", id]).catch(error => {
        if (hasRuntimeState(runtime, id)) throw error;
      });
    const monitor = this.#states.monitorOf(id) ?? (record ? undefined : this.#states.findMonitor(id));
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
  }
}

async function killAll(record: ContainerRecord): Promise<void> {
  // A frozen monitor neither reaps the container nor writes its exit code.
  if (record.monitorCgroupPath !== undefined) openCgroup(record.monitorCgroupPath).thaw();
  const cgroup = cgroupOfRecord(record);
  if (cgroup?.exists()) await cgroup.kill({ timeoutMs: killTimeoutMs });
  else if (record.init) signalProcess(record.init, 9);
}
