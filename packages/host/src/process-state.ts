import { readFileSync } from "node:fs";
import { errnoName, systemError } from "./errno.ts";
import { pause } from "./pause.ts";
import { callRaw, lastErrno } from "./sys.ts";

/** What tells one process from a later one with the same pid. */
export interface ProcessIdentity {
  readonly pid: number;
  /** In clock ticks since boot, field 22 of /proc/PID/stat. */
  readonly startTime: bigint;
}

export interface ProcessState extends ProcessIdentity {
  /** `R`, `S`, `D`, `Z` … */
  readonly state: string;
  readonly parentPid: number;
  readonly name: string;
}

/** A process as it is now; undefined when there is none, or when a later one has taken the pid of `startTime`. */
export function readProcess(pid: number, startTime?: bigint): ProcessState | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  const state = parseStat(text);
  return startTime === undefined || state.startTime === startTime ? state : undefined;
}

/** Parses /proc/PID/stat; the name in brackets may contain anything. */
export function parseStat(text: string): ProcessState {
  const close = text.lastIndexOf(")");
  const open = text.indexOf("(");
  const fields = text.slice(close + 2).split(" ");
  return {
    pid: Number(text.slice(0, open).trim()),
    name: text.slice(open + 1, close),
    state: fields[0] ?? "",
    parentPid: Number(fields[1]),
    startTime: BigInt(fields[19] ?? 0),
  };
}

/** Whether the process is there and not a zombie. */
export function isRunning(identity: ProcessIdentity): boolean {
  const process = readProcess(identity.pid, identity.startTime);
  return process !== undefined && process.state !== "Z" && process.state !== "X";
}

/** Sends a signal to exactly that process, through a pidfd; false when it has gone. */
export function signalProcess(
  identity: { readonly pid: number; readonly startTime?: bigint },
  signal: number,
): boolean {
  const pidfd = callRaw("pidfd_open", identity.pid, 0);
  if (pidfd === -1) return gone("pidfd_open", identity.pid);
  try {
    // The descriptor is open, so the pid cannot change hands between this look and the signal.
    if (identity.startTime !== undefined && !readProcess(identity.pid, identity.startTime)) return false;
    return callRaw("pidfd_send_signal", pidfd, signal, null, 0) === -1
      ? gone("pidfd_send_signal", identity.pid)
      : true;
  } finally {
    callRaw("close", pidfd);
  }
}

function gone(name: string, pid: number): false {
  const errno = lastErrno();
  if (errnoName(errno) === "ESRCH") return false;
  throw systemError(name, errno, `process ${pid}`);
}

/** Waits until the process has ended (zombies count as ended); false when `timeoutMs` came first. */
export async function waitForProcessEnd(
  identity: ProcessIdentity,
  options: { readonly timeoutMs?: number; readonly signal?: AbortSignal | undefined } = {},
): Promise<boolean> {
  const deadline =
    options.timeoutMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + options.timeoutMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(25, pauseMs * 1.5)) {
    if (!isRunning(identity)) return true;
    const left = deadline - performance.now();
    if (left <= 0) return false;
    await pause(Math.min(pauseMs, left), options.signal);
  }
}
