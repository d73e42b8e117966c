import { accessSync, constants } from "node:fs";
import type { Socket } from "node:net";
import { isAbsolute, join } from "node:path";
import { OcidError } from "@ocid/base";
import { type ProcessEnd, spawnProcess } from "./spawn-process.ts";

export interface RunRequest {
  readonly path: string;
  /** Arguments without the program's name. */
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: string | Uint8Array;
  /** Most bytes kept of each output. Default 1 MiB; what is over fails with RESOURCE_EXHAUSTED. */
  readonly capBytes?: number;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface RunResult extends ProcessEnd {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/**
 * Runs a program to its end and collects its output. A non-zero exit is a result, not an error; a time-out
 * (DEADLINE_EXCEEDED), too much output, and the signal kill it.
 */
export async function runProcess(request: RunRequest): Promise<RunResult> {
  request.signal?.throwIfAborted();
  const child = spawnProcess({
    path: request.path,
    argv: [request.path, ...request.args],
    env: request.env ?? cleanEnvironment(),
    ...(request.cwd === undefined ? {} : { cwd: request.cwd }),
    stdio: [request.stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  let failure: unknown;
  const stop = (reason: unknown) => {
    failure ??= reason;
    child.kill("SIGKILL");
  };
  const abort = () => stop(request.signal?.reason);
  request.signal?.addEventListener("abort", abort, { once: true });
  const timer =
    request.timeoutMs === undefined
      ? undefined
      : setTimeout(
          () =>
            stop(
              new OcidError(
                "DEADLINE_EXCEEDED",
                `${request.path} did not end within ${request.timeoutMs} ms`,
              ),
            ),
          request.timeoutMs,
        );
  try {
    if (request.stdin !== undefined) child.stdio[0]?.end(request.stdin);
    const cap = request.capBytes ?? 1024 * 1024;
    const outputs = [child.stdio[1], child.stdio[2]].map(pipe =>
      collect(pipe!, cap, () =>
        stop(new OcidError("RESOURCE_EXHAUSTED", `${request.path} wrote more than ${cap} bytes`)),
      ),
    );
    const end = await child.exited;
    // A grandchild may hold the pipes open; what the program itself wrote is in them already.
    const grace = setTimeout(() => {
      for (const pipe of child.stdio) pipe?.destroy();
    }, 500);
    const [stdout, stderr] = await Promise.all(outputs);
    clearTimeout(grace);
    if (failure !== undefined) throw failure;
    return { ...end, stdout: stdout!, stderr: stderr! };
  } finally {
    clearTimeout(timer);
    request.signal?.removeEventListener("abort", abort);
  }
}

/** The variables of ours that a program needs and may see. */
export function cleanEnvironment(): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    LANG: "C.UTF-8",
  };
}

function collect(pipe: Socket, cap: number, overflow: () => void): Promise<Buffer> {
  return new Promise(resolve => {
    const chunks: Buffer[] = [];
    let size = 0;
    pipe.on("data", (chunk: Buffer) => {
      size += chunk.byteLength;
      if (size > cap) overflow();
      else chunks.push(chunk);
    });
    pipe.once("close", () => resolve(Buffer.concat(chunks)));
  });
}

const usualDirectories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/** Where programs were found, by PATH and name: asked for with each container, they are looked for once. */
const found = new Map<string, string>();

/**
 * The absolute path of a program, looked for in PATH and the usual directories; undefined when there is none. It stays
 * where it was found for as long as it is there.
 */
export function findExecutable(name: string): string | undefined {
  if (isAbsolute(name)) return isExecutable(name) ? name : undefined;
  if (name.includes("/")) return undefined;
  const path = process.env["PATH"] ?? "";
  const key = `${path}:${name}`;
  const known = found.get(key);
  if (known !== undefined && isExecutable(known)) return known;
  const directories = [...path.split(":").filter(isAbsolute), ...usualDirectories];
  const program = directories.map(directory => join(directory, name)).find(isExecutable);
  if (program !== undefined) found.set(key, program);
  return program;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
