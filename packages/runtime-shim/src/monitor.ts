import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import type { Socket } from "node:net";
import { dirname, join } from "node:path";
import { OcidError, traced } from "@ocid/base";
import { type Cgroup, openCgroup, spawnProcess } from "@ocid/host";
import type { ContainerCgroups } from "./container-cgroups.ts";
import type { ContainerFiles, ShimFiles } from "./container-files.ts";
import { monitorCommand } from "./monitor-command.ts";
import { runtimeMessage } from "./runtime-message.ts";
import type { InstalledRuntime } from "./runtimes.ts";
import type { LaunchRequest } from "./types.ts";

export interface MonitorRequest {
  readonly conmonPath: string;
  readonly runtime: InstalledRuntime;
  readonly launch: LaunchRequest;
  readonly cgroups: ContainerCgroups;
  /** Needed where systemd makes the cgroups. */
  readonly systemdRunPath: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

const syncFd = 3;
const startFd = 4;

/**
 * Starts conmon, which has the runtime create the container and then stays with it: it writes the log and the exit
 * code whether we are there or not. Returns the pid of the container's first process.
 */
export async function launchMonitor(
  shim: ShimFiles,
  files: ContainerFiles,
  request: MonitorRequest,
): Promise<{ readonly pid: number }> {
  const attributes = { runtime: request.runtime.name, container: request.launch.id, bundle: files.bundle };
  return await traced({ name: "runtime.create", attributes }, () => createContainer(shim, files, request));
}

async function createContainer(
  shim: ShimFiles,
  files: ContainerFiles,
  request: MonitorRequest,
): Promise<{ readonly pid: number }> {
  const { launch, cgroups } = request;
  for (const directory of [shim.sockets, shim.running])
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (launch.logPath !== undefined) mkdirSync(dirname(launch.logPath), { recursive: true, mode: 0o755 });
  const child = spawnProcess({
    ...monitorCommand(shim, files, request),
    env: {
      PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin",
      _OCI_SYNCPIPE: String(syncFd),
      _OCI_STARTPIPE: String(startFd),
    },
    cwd: files.bundle,
    stdio: ["ignore", "ignore", "out", "out", "in"],
  });
  const [, , stderr, sync, start] = child.stdio;
  // What was launched goes on in the background before the runtime has answered it; nobody waits for that answer then.
  const abort = () => {
    child.kill("SIGKILL");
    sync!.destroy();
  };
  request.signal?.addEventListener("abort", abort, { once: true });
  try {
    const said = firstLine(sync!);
    const complained = tail(stderr!);
    if (cgroups.monitor !== undefined && !cgroups.monitorScope)
      await moveToCgroup(openCgroup(cgroups.monitor), child.pid);
    start!.end(Buffer.from([0]));
    const end = await child.exited;
    const answer = parseAnswer(await said);
    request.signal?.throwIfAborted();
    if (end.code !== 0 || answer.pid === undefined || answer.pid < 0) {
      stderr!.destroy();
      const text = answer.message ?? (await complained) ?? runtimeLog(files);
      throw launchError(launch, text || `conmon ended with ${end.signal ?? `exit code ${end.code}`}`);
    }
    return { pid: answer.pid };
  } finally {
    request.signal?.removeEventListener("abort", abort);
    for (const pipe of child.stdio) pipe?.destroy();
  }
}

async function moveToCgroup(cgroup: Cgroup, pid: number): Promise<void> {
  cgroup.create();
  await cgroup.moveProcess(pid);
}

/** Tells the monitor through its fifo: `1 H W` resizes the terminal, `2 0 0` opens the log again. */
export function tellMonitor(files: ContainerFiles, line: string): void {
  let fd: number;
  try {
    fd = openSync(files.control, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new OcidError(
      "FAILED_PRECONDITION",
      `the container's monitor does not listen any more (${(error as NodeJS.ErrnoException).code}); the container has ended`,
      { cause: error },
    );
  }
  try {
    writeSync(fd, line);
  } finally {
    closeSync(fd);
  }
}

/** The monitor should not be what the kernel kills when memory runs out. */
export function protectFromOom(pid: number, score: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(score));
  } catch {
    // Without CAP_SYS_RESOURCE the monitor keeps ours.
  }
}

interface Answer {
  readonly pid?: number;
  readonly message?: string;
}

function parseAnswer(line: string): Answer {
  try {
    const value = JSON.parse(line);
    return {
      ...(Number.isInteger(value.pid ?? value.data) ? { pid: value.pid ?? value.data } : {}),
      ...(typeof value.message === "string" ? { message: value.message } : {}),
    };
  } catch {
    return {};
  }
}

function runtimeLog(files: ContainerFiles): string {
  const path = join(files.bundle, "log.json");
  return existsSync(path) ? readFileSync(path, "utf8").slice(-2000) : "";
}

const maxText = 64 * 1024;

function firstLine(pipe: Socket): Promise<string> {
  return new Promise(resolve => {
    let text = "";
    pipe.on("data", chunk => {
      text = (text + chunk).slice(0, maxText);
      const end = text.indexOf("\n");
      if (end !== -1) resolve(text.slice(0, end));
    });
    pipe.once("close", () => resolve(text));
  });
}

function tail(pipe: Socket): Promise<string> {
  return new Promise(resolve => {
    let text = "";
    pipe.on("data", chunk => {
      text = (text + chunk).slice(-maxText);
    });
    pipe.once("close", () => resolve(text.trim()));
  });
}

/** What the runtime said, with the code that fits. */
function launchError(launch: LaunchRequest, text: string): OcidError {
  const said = runtimeMessage(text).replace(/\\"/g, '"').slice(0, 2000);
  const code =
    /no such file or directory|executable file not found|permission denied|is a directory|invalid argument/i.test(
      said,
    )
      ? "FAILED_PRECONDITION"
      : /already exists/i.test(said)
        ? "ALREADY_EXISTS"
        : "INTERNAL";
  return new OcidError(code, `create container ${launch.name} (${launch.id.slice(0, 12)}): ${said}`, {
    reason: "RuntimeFailed",
  });
}
