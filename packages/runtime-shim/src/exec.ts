import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { cleanEnvironment, spawnProcess } from "@ocid/host";
import type { RuntimeProcess } from "@ocid/spec";
import type { ContainerFiles, ShimFiles } from "./container-files.ts";
import type { InstalledRuntime } from "./runtimes.ts";
import type { CallOptions, ExecResult, ExecSyncRequest } from "./types.ts";

/** Output that is kept of each stream; what is over is thrown away. */
const maxOutputBytes = 16 * 1024 * 1024;
/** How long the runtime has to end after what it has started. */
export const runtimeEndMs = 2_000;

/** Runs a process in a container to its end. DEADLINE_EXCEEDED kills it with all that it started. */
export async function execSync(
  shim: ShimFiles,
  files: ContainerFiles,
  runtime: InstalledRuntime,
  id: string,
  request: ExecSyncRequest,
  options: CallOptions,
): Promise<ExecResult> {
  options.signal?.throwIfAborted();
  const session = join(files.directory, `exec-${randomBytes(8).toString("hex")}`);
  const processFile = `${session}.json`;
  const pidFile = `${session}.pid`;
  // Not synced: it means nothing once the command has ended.
  writeFileSync(processFile, JSON.stringify({ ...request.process, terminal: false }), {
    flag: "wx",
    mode: 0o600,
  });
  const child = spawnProcess({
    path: runtime.path,
    argv: [runtime.path, "--root", runtime.root, "exec", "--process", processFile, "--pid-file", pidFile, id],
    env: cleanEnvironment(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let failure: unknown;
  let impatience: NodeJS.Timeout | undefined;
  const stop = (reason: unknown) => {
    failure ??= reason;
    // The runtime waits for what it has started: by its end nothing of the session is left, not even a zombie.
    if (!killSession(shim, pidFile)) child.kill("SIGKILL");
    else impatience ??= setTimeout(() => child.kill("SIGKILL"), runtimeEndMs);
  };
  const abort = () => stop(options.signal?.reason);
  options.signal?.addEventListener("abort", abort, { once: true });
  const timer =
    request.timeoutMs > 0
      ? setTimeout(
          () =>
            stop(
              new OcidError(
                "DEADLINE_EXCEEDED",
                `command ${JSON.stringify(request.process.args[0])} timed out after ${request.timeoutMs / 1000} s`,
              ),
            ),
          request.timeoutMs,
        )
      : undefined;
  try {
    const outputs = [collect(child.stdio[1]!), collect(child.stdio[2]!)];
    const end = await child.exited;
    // Something that the command left running may hold the pipes for ever.
    const grace = setTimeout(() => {
      for (const pipe of child.stdio) pipe?.destroy();
    }, 200);
    const [stdout, stderr] = await Promise.all(outputs);
    clearTimeout(grace);
    if (failure !== undefined) throw failure;
    const exitCode = end.code ?? 128 + 9;
    refuseRuntimeFailure(exitCode, stderr!, request);
    return { stdout: stdout!, stderr: stderr!, exitCode };
  } finally {
    clearTimeout(timer);
    clearTimeout(impatience);
    options.signal?.removeEventListener("abort", abort);
    rmSync(processFile, { force: true });
    rmSync(pidFile, { force: true });
  }
}

/** The process is the leader of a session: its group is what it started. False while there is none. */
export function killSession(shim: ShimFiles, pidFile: string): boolean {
  const pid = shim.readPid(pidFile);
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

/** A command that could not be started is the runtime's failure, not the command's exit code. */
export function refuseRuntimeFailure(
  exitCode: number,
  stderr: Uint8Array,
  request: { readonly process: RuntimeProcess },
): void {
  if (exitCode !== 255 && exitCode !== 1 && exitCode !== 126 && exitCode !== 127) return;
  const text = Buffer.from(stderr).toString();
  const match = /(?:exec failed: |OCI runtime exec failed: )(.*)/s.exec(text);
  if (!match || !/level=error|unable to start|exec failed/.test(text)) return;
  const said = match[1]!.trim().replace(/\\"/g, '"').slice(0, 500);
  throw new OcidError(
    /not found|no such file/i.test(said) ? "NOT_FOUND" : "FAILED_PRECONDITION",
    `command ${JSON.stringify(request.process.args[0])} cannot be run: ${said}`,
    { reason: "RuntimeFailed" },
  );
}

function collect(pipe: Socket): Promise<Buffer> {
  return new Promise(resolve => {
    const chunks: Buffer[] = [];
    let left = maxOutputBytes;
    pipe.on("data", (chunk: Buffer) => {
      if (left > 0) chunks.push(chunk.subarray(0, left));
      left -= Math.min(left, chunk.byteLength);
    });
    pipe.once("close", () => resolve(Buffer.concat(chunks)));
  });
}
