import type { Socket } from "node:net";
import { OcidError } from "@ocid/base";
import { cleanEnvironment, spawnProcess } from "@ocid/host";
import type { ShimFiles } from "./container-files.ts";
import { execCommand, refuseRuntimeFailure } from "./exec-command.ts";
import type { InstalledRuntime } from "./runtimes.ts";
import type { CallOptions, ExecResult, ExecSyncRequest } from "./types.ts";

/** Output that is kept of each stream; what is over is thrown away. */
const maxOutputBytes = 16 * 1024 * 1024;

/** Runs a process in a container to its end. DEADLINE_EXCEEDED kills it with all that it started. */
export async function execSync(
  files: ShimFiles,
  runtime: InstalledRuntime,
  id: string,
  request: ExecSyncRequest,
  options: CallOptions,
): Promise<ExecResult> {
  options.signal?.throwIfAborted();
  using command = execCommand(files, runtime, id, { ...request.process, terminal: false });
  const child = spawnProcess({
    path: runtime.path,
    argv: command.argv,
    env: cleanEnvironment(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let failure: unknown;
  const stop = (reason: unknown) => {
    failure ??= reason;
    command.end(child);
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
    options.signal?.removeEventListener("abort", abort);
  }
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
