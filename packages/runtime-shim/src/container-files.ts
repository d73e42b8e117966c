import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { isAbsolute, join } from "node:path";
import { OcidError, wrapError, writeAtomic } from "@ocid/base";
import type { ProcessIdentity } from "@ocid/host";
import type { RuntimeSpec } from "@ocid/spec";
import type { LaunchRequest } from "./types.ts";

/** Of a container whose end nobody saw. */
export const unknownExitCode = 255;

/** What conmon adds to the name of a file while it writes it: `g_file_set_contents` of GLib. */
const unfinishedExit = /\.[A-Za-z0-9]{6}$/;

/** What the shim notes of a container beside the runtime's and the monitor's own files. */
export interface ContainerRecord {
  readonly id: string;
  readonly handler: string;
  /**
   * `creating` means that nobody knows yet whether there is a container: it is undone when found so. `restoring` means
   * the same of the processes of one that waits for its checkpoint.
   */
  readonly phase: "creating" | "restoring" | "created";
  readonly logPath: string | undefined;
  /** The container's first process. */
  readonly init: ProcessIdentity | undefined;
  /** From the root of each hierarchy. */
  readonly cgroupPath: string | undefined;
  readonly monitorCgroupPath: string | undefined;
  /** A fifo that is there until the container is started, where its runtime makes one (runc, crun). */
  readonly startFifo?: string | undefined;
  /** Of one that has no process yet: what it is to be restored from and with. */
  readonly restore?: ContainerRestore | undefined;
}

/** How a container has ended. */
export interface ContainerExit {
  readonly exitCode: number;
  readonly finishedAtNs: bigint;
  readonly oomKilled: boolean;
}

/** What the monitor of a container is to be told when the container is restored. */
export type ContainerRestore = Pick<LaunchRequest, "name" | "stdin" | "stdinOnce"> & {
  /** Directory of criu's images. */
  readonly checkpoint: string;
};

/** Paths of everything that belongs to a container on disk. */
export interface ContainerFiles {
  readonly directory: string;
  readonly bundle: string;
  readonly config: string;
  readonly record: string;
  /** Not on the disk: the runtime would wait for it. */
  readonly pidFile: string;
  /** Of a restored container, on the disk: it tells that the processes were there once, also after the machine went down. */
  readonly restoredPidFile: string;
  readonly monitorPidFile: string;
  readonly control: string;
  /** Written by the monitor when the container has ended. */
  readonly exit: string;
  /** Made by the monitor when it has seen the kernel kill something in the container for want of memory. */
  readonly oom: string;
  /** Numbers of such kills that the shim has noted; see `OomKills`. */
  readonly oomKills: string;
  readonly oomKillsBefore: string;
  /** Made by the shim before it kills what is in the container. */
  readonly killed: string;
  /** Made by the shim once a container was started whose runtime does not show it by itself. */
  readonly started: string;
  readonly attachSocket: string;
}

export class ShimFiles {
  readonly containers: string;
  readonly exits: string;
  readonly sockets: string;
  readonly runtimes: string;
  /** Files of containers and commands that mean nothing once they have ended, named by `runPrefix`. */
  readonly running: string;

  constructor(stateDir: string, runDir: string = stateDir) {
    this.containers = join(stateDir, "containers");
    this.exits = join(stateDir, "exits");
    this.sockets = join(stateDir, "sockets");
    this.runtimes = join(stateDir, "runtimes");
    this.running = join(runDir, "running");
  }

  of(id: string): ContainerFiles {
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/.test(id))
      throw new OcidError("INVALID_ARGUMENT", `not a container id: ${JSON.stringify(id.slice(0, 140))}`);
    const directory = `${this.containers}/${id}`;
    const bundle = `${directory}/bundle`;
    return {
      directory,
      bundle,
      config: `${bundle}/config.json`,
      record: `${directory}/record.json`,
      pidFile: `${this.running}/${this.runPrefix(id)}pid`,
      restoredPidFile: `${directory}/pid`,
      monitorPidFile: `${directory}/monitor-pid`,
      control: `${bundle}/ctl`,
      exit: `${this.exits}/${id}`,
      oom: `${directory}/oom`,
      oomKills: `${directory}/oom-kills`,
      oomKillsBefore: `${directory}/oom-kills-before`,
      killed: `${directory}/killed`,
      started: `${directory}/started`,
      attachSocket: `${this.sockets}/${id}/attach`,
    };
  }

  /** What the names of a container's files in `running` begin with; no other container's do. */
  runPrefix(id: string): string {
    return `${id}@`;
  }

  /** Removes a container's files from `running`, with what commands have left whose program was killed. */
  removeRunning(id: string): void {
    const prefix = this.runPrefix(id);
    // With a dot while runc writes it.
    removeFrom(this.running, name => name.startsWith(prefix) || name.startsWith(`.${prefix}`));
  }

  /** Whether a name in `exits` is that of a file which a monitor has not renamed yet, or never will because it was killed. */
  isUnfinishedExit(name: string): boolean {
    // An id may look the same.
    return unfinishedExit.test(name) && !existsSync(join(this.containers, name));
  }

  /** Removes the end of a container, and what its monitor has left that was killed while it wrote it down. */
  removeExit(id: string): void {
    removeFrom(this.exits, name => name.replace(unfinishedExit, "") === id && this.isUnfinishedExit(name));
    // Last, so that an interrupted removal still shows a container that has ended.
    rmSync(this.of(id).exit, { recursive: true, force: true });
  }

  list(): readonly string[] {
    return existsSync(this.containers) ? readdirSync(this.containers) : [];
  }

  findRecord(id: string): ContainerRecord | undefined {
    const path = this.of(id).record;
    let text: string;
    try {
      text = readFileSync(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw wrapError(`read ${path}`, error);
    }
    try {
      const record = JSON.parse(text);
      if (record?.id !== id || typeof record.handler !== "string") throw new Error("it is no record of this");
      for (const path of [
        record.logPath,
        record.cgroupPath,
        record.monitorCgroupPath,
        record.startFifo,
        record.restore?.checkpoint,
      ])
        if (path !== undefined && (typeof path !== "string" || !isAbsolute(path)))
          throw new Error("a path in it is no path");
      const init = record.init
        ? { pid: Number(record.init.pid), startTime: BigInt(record.init.startTime) }
        : undefined;
      return { ...record, init };
    } catch (error) {
      throw new OcidError("DATA_LOSS", `${path} is damaged: ${(error as Error).message}`, { cause: error });
    }
  }

  getRecord(id: string): ContainerRecord {
    const record = this.findRecord(id);
    if (!record) throw new OcidError("NOT_FOUND", `container ${id} does not exist`);
    return record;
  }

  async writeRecord(record: ContainerRecord): Promise<void> {
    const init = record.init && { pid: record.init.pid, startTime: record.init.startTime.toString() };
    await writeAtomic(this.of(record.id).record, JSON.stringify({ ...record, init }));
  }

  /** Puts a record in the place of a damaged one, which is kept beside it. */
  async replaceRecord(record: ContainerRecord): Promise<void> {
    const { record: path } = this.of(record.id);
    renameSync(path, `${path}.damaged-${Date.now()}`);
    await this.writeRecord(record);
  }

  noteStarted(id: string): void {
    writeFileSync(this.of(id).started, "", { mode: 0o600 });
  }

  /** What ends now ends because of us. Without room for the note it may count as the kernel's doing; it is killed all the same. */
  noteKilled(id: string): void {
    try {
      writeFileSync(this.of(id).killed, "", { mode: 0o600 });
    } catch {}
  }

  readSpec(id: string): RuntimeSpec {
    const { config } = this.of(id);
    try {
      return JSON.parse(readFileSync(config, "utf8"));
    } catch (error) {
      throw wrapError(`read ${config}`, error);
    }
  }

  /** The exit code and its time, once the monitor has written them. */
  readExit(id: string): ContainerExit | undefined {
    const files = this.of(id);
    // What runs has none, and is what is looked at most: an error with its stack takes longer than all else.
    if (!existsSync(files.exit)) return undefined;
    try {
      const text = readFileSync(files.exit, "utf8").trim();
      // The file is made before it is filled.
      if (text === "") return undefined;
      const { mtimeNs } = statSync(files.exit, { bigint: true });
      // What is no number is an end all the same: nobody will write another.
      const exitCode = /^-?\d{1,9}$/.test(text) ? Number(text) : unknownExitCode;
      return { exitCode, finishedAtNs: mtimeNs, oomKilled: existsSync(files.oom) };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") return undefined;
      if (code === "EISDIR") {
        const { mtimeNs } = statSync(files.exit, { bigint: true });
        return { exitCode: unknownExitCode, finishedAtNs: mtimeNs, oomKilled: false };
      }
      throw wrapError(`read ${files.exit}`, error);
    }
  }

  hasExit(id: string): boolean {
    return existsSync(this.of(id).exit);
  }

  /** Writes the end down that no monitor has seen, once; a restart finds the same. */
  noteExit(id: string, exitCode: number): void {
    mkdirSync(this.exits, { recursive: true, mode: 0o700 });
    try {
      // One that is empty was never finished, by a monitor that was killed.
      const { exit } = this.of(id);
      const unfinished = statSync(exit, { throwIfNoEntry: false })?.size === 0;
      writeFileSync(exit, String(exitCode), { flag: unfinished ? "w" : "wx", mode: 0o600 });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EEXIST" && code !== "EISDIR") throw wrapError(`note the end of ${id}`, error);
    }
  }

  readPid(path: string): number | undefined {
    try {
      const pid = Number(readFileSync(path, "utf8").trim());
      return Number.isInteger(pid) && pid > 0 ? pid : undefined;
    } catch {
      return undefined;
    }
  }
}

function removeFrom(directory: string, isToGo: (name: string) => boolean): void {
  if (!existsSync(directory)) return;
  for (const name of readdirSync(directory))
    if (isToGo(name)) rmSync(join(directory, name), { recursive: true, force: true });
}
