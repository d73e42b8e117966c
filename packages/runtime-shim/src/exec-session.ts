import { cleanEnvironment, openPseudoTerminal, type SpawnedProcess, spawnProcess } from "@ocid/host";
import type { RuntimeProcess } from "@ocid/spec";
import type { ShimFiles } from "./container-files.ts";
import { execCommand, refuseRuntimeFailure } from "./exec-command.ts";
import type { InstalledRuntime } from "./runtimes.ts";
import { SessionPump } from "./session-pump.ts";
import type { CallOptions, SessionStreams } from "./types.ts";

/** Runs a process in a container with a client's streams, with or without a terminal, to its end. */
export async function execSession(
  files: ShimFiles,
  runtime: InstalledRuntime,
  id: string,
  process: RuntimeProcess,
  streams: SessionStreams,
  options: CallOptions,
): Promise<{ readonly exitCode: number }> {
  options.signal?.throwIfAborted();
  using command = execCommand(files, runtime, id, process);
  const running = process.terminal
    ? startOnTerminal(runtime.path, command.argv, streams)
    : startOnPipes(runtime.path, command.argv, streams);
  const abort = () => {
    command.end(running.child);
    for (const pipe of running.child.stdio) pipe?.destroy();
  };
  options.signal?.addEventListener("abort", abort, { once: true });
  if (options.signal?.aborted) abort();
  try {
    const end = await running.child.exited;
    for (const pump of running.outputs) await pump.finish();
    options.signal?.throwIfAborted();
    const exitCode = end.code ?? 128 + 9;
    refuseRuntimeFailure(exitCode, running.outputs.at(-1)!.tail, { process });
    return { exitCode };
  } finally {
    options.signal?.removeEventListener("abort", abort);
    running.release();
  }
}

interface RunningSession {
  readonly child: SpawnedProcess;
  /** The last one carries what the runtime itself says. */
  readonly outputs: readonly SessionPump[];
  release(): void;
}

function startOnPipes(path: string, argv: readonly string[], streams: SessionStreams): RunningSession {
  const child = spawnProcess({
    path,
    argv,
    env: cleanEnvironment(),
    stdio: [streams.stdin ? "pipe" : "ignore", "pipe", "pipe"],
  });
  const [stdin, stdout, stderr] = child.stdio;
  if (stdin) streams.stdin?.pipe(stdin);
  return {
    child,
    outputs: [new SessionPump(stdout!, streams.stdout), new SessionPump(stderr!, streams.stderr)],
    release() {
      if (stdin) streams.stdin?.unpipe(stdin);
      stdin?.destroy();
    },
  };
}

/** The runtime copies between its own terminal, which is ours, and the container's; it is told of sizes by signal. */
function startOnTerminal(path: string, argv: readonly string[], streams: SessionStreams): RunningSession {
  const terminal = openPseudoTerminal();
  let child: SpawnedProcess;
  try {
    const { childFd } = terminal;
    child = spawnProcess({
      path,
      argv,
      env: cleanEnvironment(),
      stdio: [childFd, childFd, childFd],
      newSession: true,
    });
  } catch (error) {
    terminal[Symbol.dispose]();
    throw error;
  }
  terminal.release();
  const output = new SessionPump(terminal.master, streams.stdout);
  streams.stdin?.pipe(terminal.master, { end: false });
  void followSizes(streams.resizes, size => {
    terminal.resize(size);
    child.kill("SIGWINCH");
  });
  return {
    child,
    outputs: [output],
    release() {
      streams.stdin?.unpipe(terminal.master);
      terminal[Symbol.dispose]();
    },
  };
}

/** Ends with the sizes; what comes after the terminal's end changes nothing. */
export async function followSizes(
  resizes: SessionStreams["resizes"],
  apply: (size: { readonly width: number; readonly height: number }) => void,
): Promise<void> {
  if (!resizes) return;
  try {
    for await (const size of resizes) apply(size);
  } catch {
    // The container or the client has gone, which ends the session by other ways.
  }
}
