import { mkdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OcidError, randomHex } from "@ocid/base";
import { cleanEnvironment, type SpawnedProcess, spawnProcess } from "@ocid/host";
import type { RuntimeProcess } from "@ocid/spec";
import type { ShimFiles } from "./container-files.ts";
import type { InstalledRuntime } from "./runtimes.ts";

/** One command in a container, as its runtime is asked for it. */
export interface ExecCommand extends Disposable {
  readonly argv: readonly string[];
  /**
   * Kills the command with what it has started. Its runtime waits for it: by the runtime's end nothing of it is left, not
   * even a zombie. A runtime that has not ended after a while is killed too.
   */
  end(child: SpawnedProcess): void;
}

/** How long the runtime has to end after what it has started. */
const runtimeEndMs = 2_000;
/** How often the command's pid is looked for: the runtime tells it when the command runs already. */
const lookMs = 10;

/** Writes the command down for its runtime. Disposing removes its files. */
export function execCommand(
  files: ShimFiles,
  runtime: InstalledRuntime,
  id: string,
  process: RuntimeProcess,
): ExecCommand {
  const session = join(files.running, `${files.runPrefix(id)}${randomHex(8)}`);
  const processFile = `${session}.json`;
  const pidFile = `${session}.pid`;
  const innerPidFile = `${session}.inner`;
  const kill = () =>
    runtime.type === "gvisor" ? killInSandbox(runtime, id, innerPidFile) : killSession(readPid(pidFile));
  let looks: NodeJS.Timeout | undefined;
  let impatience: NodeJS.Timeout | undefined;
  const command: ExecCommand = {
    argv: [
      ...[runtime.path, ...runtime.globalArguments],
      ...["exec", "--process", processFile, "--pid-file", pidFile],
      ...(runtime.type === "gvisor" ? ["--internal-pid-file", innerPidFile] : []),
      ...(process.terminal ? ["--tty"] : []),
      id,
    ],
    end(child) {
      if (impatience) return;
      impatience = setTimeout(() => child.kill("SIGKILL"), runtimeEndMs);
      if (kill()) return;
      looks = setInterval(() => {
        if (kill()) clearInterval(looks);
      }, lookMs);
    },
    [Symbol.dispose]() {
      clearTimeout(impatience);
      clearInterval(looks);
      unlink(processFile);
      unlink(pidFile);
      if (runtime.type === "gvisor") unlink(innerPidFile);
    },
  };
  try {
    mkdirSync(files.running, { recursive: true, mode: 0o700 });
    // Not synced: it means nothing once the command has ended.
    writeFileSync(processFile, JSON.stringify(process), { flag: "wx", mode: 0o600 });
    return command;
  } catch (error) {
    command[Symbol.dispose]();
    throw error;
  }
}

/** A runtime that has failed may not have written it. */
function unlink(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

/** False while there is none. The process is the leader of a session: its group is what it started. */
function killSession(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, "SIGKILL");
    } catch {
      // It has gone by itself.
    }
  }
  return true;
}

/** The kernel that knows the process is gVisor's; only the command itself can be named to it. */
function killInSandbox(runtime: InstalledRuntime, id: string, innerPidFile: string): boolean {
  const pid = readPid(innerPidFile);
  if (pid === undefined) return false;
  const killer = spawnProcess({
    path: runtime.path,
    argv: [runtime.path, ...runtime.globalArguments, "kill", "--pid", String(pid), id, "KILL"],
    env: cleanEnvironment(),
    stdio: ["ignore", "ignore", "ignore"],
  });
  // What has gone by itself cannot be killed.
  killer.exited.catch(() => {});
  return true;
}

function readPid(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, "utf8").trim());
    return Number.isInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

// What the runtimes say when they could not start a command, each with the exit codes of its own failures.
const failures = [
  // runc
  { codes: [255, 1, 126, 127], pattern: /(?:exec failed: |OCI runtime exec failed: )(.*)/s },
  // crun: one line, and nothing of the command's own before it.
  {
    codes: [255, 1, 126, 127],
    pattern: /^((?:executable file `|open executable|chdir `|exec ).*: .*)\n?$/,
  },
  // runsc
  { codes: [128], pattern: /executing processes for container: (.*)/s },
] as const;

/** A command that could not be started is the runtime's failure, not the command's exit code. */
export function refuseRuntimeFailure(
  exitCode: number,
  stderr: Uint8Array,
  request: { readonly process: RuntimeProcess },
): void {
  const text = Buffer.from(stderr).toString();
  const match = failures
    .filter(({ codes }) => (codes as readonly number[]).includes(exitCode))
    .map(({ pattern }) => pattern.exec(text))
    .find(found => found !== null);
  if (!match) return;
  const said = match[1]!.trim().replace(/\\"/g, '"').slice(0, 500);
  throw new OcidError(
    /not found|no such file/i.test(said) ? "NOT_FOUND" : "FAILED_PRECONDITION",
    `command ${JSON.stringify(request.process.args[0])} cannot be run: ${said}`,
    { reason: "RuntimeFailed" },
  );
}
