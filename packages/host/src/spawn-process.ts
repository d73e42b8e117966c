import { Socket } from "node:net";
import { constants } from "node:os";
import { isMainThread } from "node:worker_threads";
import { OcidError } from "@ocid/base";
import { systemError } from "./errno.ts";
import { call, callRaw, cString } from "./sys.ts";

/**
 * What a child finds at a descriptor: nothing (/dev/null), one of ours, a pipe, or a `socket` that both read and write.
 * `in` is a pipe that the child reads from, `out` one that it writes to; `pipe` is `in` for descriptor 0 and `out` for
 * the others.
 */
export type Stdio = "ignore" | "pipe" | "in" | "out" | "socket" | number;

export interface SpawnRequest {
  /** Absolute path of the program. */
  readonly path: string;
  /** Arguments with the program's name first. */
  readonly argv: readonly string[];
  /** The whole environment: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** By descriptor from 0 up; whatever is not named is closed. */
  readonly stdio: readonly Stdio[];
  /** Makes the child the leader of a session of its own. */
  readonly newSession?: boolean;
}

/** How a process ended. Both are null when something else in this process has reaped it. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: string | null;
}

export interface SpawnedProcess {
  readonly pid: number;
  /** Our ends of the pipes and sockets, by descriptor of the child. */
  readonly stdio: readonly (Socket | undefined)[];
  readonly exited: Promise<ProcessEnd>;
  kill(signal: NodeJS.Signals): void;
}

const setSigDefault = 0x04;
const setSigMask = 0x08;
const setSession = 0x80;

// What was made for one spawn: `ours` by descriptor of the child, `theirs` to be closed after it.
interface Descriptors {
  readonly ours: (number | undefined)[];
  readonly theirs: number[];
}

/**
 * Starts a program by posix_spawn(3): unlike fork it takes 0.1 ms however much memory this process has. Fails with
 * NOT_FOUND when the program is missing, PERMISSION_DENIED when it may not be run.
 */
export function spawnProcess(request: SpawnRequest): SpawnedProcess {
  // glibc: posix_spawn_file_actions_t has 80 bytes, posix_spawnattr_t 336, sigset_t 128, on all 64-bit machines.
  const actions = Buffer.alloc(256);
  const attributes = Buffer.alloc(512);
  const made: Descriptors = { ours: [], theirs: [] };
  check("posix_spawn_file_actions_init", request.path, actions);
  check("posix_spawnattr_init", request.path, attributes);
  try {
    addStdio(actions, request.stdio, made);
    // Whatever this process was started with must not reach a container.
    check("posix_spawn_file_actions_addclosefrom_np", request.path, actions, request.stdio.length);
    if (request.cwd !== undefined)
      check("posix_spawn_file_actions_addchdir_np", request.cwd, actions, cString(request.cwd));
    const flags = setSigDefault | setSigMask | (request.newSession ? setSession : 0);
    check("posix_spawnattr_setflags", request.path, attributes, flags);
    check("posix_spawnattr_setsigmask", request.path, attributes, Buffer.alloc(128));
    check("posix_spawnattr_setsigdefault", request.path, attributes, Buffer.alloc(128, 0xff));
    const pid = Buffer.alloc(4);
    const environment = Object.entries(request.env).map(([name, value]) => `${name}=${value}`);
    for (const text of [...request.argv, ...environment]) refuseNul(text);
    listen();
    check(
      "posix_spawn",
      request.path,
      pid,
      cString(request.path),
      actions,
      attributes,
      [...request.argv, null],
      [...environment, null],
    );
    return watch(pid.readInt32LE(0), request.stdio, made.ours);
  } catch (error) {
    for (const fd of made.ours) if (fd !== undefined) callRaw("close", fd);
    throw error;
  } finally {
    for (const fd of made.theirs) callRaw("close", fd);
    callRaw("posix_spawn_file_actions_destroy", actions);
    callRaw("posix_spawnattr_destroy", attributes);
  }
}

/** C would end the text there, and the program would see another one than was meant. */
function refuseNul(text: string): void {
  if (text.includes("\0"))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `argument or variable with a NUL: ${JSON.stringify(text.slice(0, 80))}`,
    );
}

/** These functions return the errno instead of setting it. */
function check(name: Parameters<typeof callRaw>[0], about: string, ...values: readonly unknown[]): void {
  const errno = callRaw(name, ...values);
  if (errno !== 0) throw systemError(name, errno, about);
}

function addStdio(actions: Buffer, stdio: readonly Stdio[], made: Descriptors): void {
  for (const [fd, kind] of stdio.entries()) {
    if (kind === "ignore") {
      check("posix_spawn_file_actions_addopen", "/dev/null", actions, fd, cString("/dev/null"), 2, 0);
      made.ours.push(undefined);
      continue;
    }
    const source =
      typeof kind === "number"
        ? kind
        : kind === "socket"
          ? makeSocketPair(made)
          : makePipe(childReads(kind, fd), made);
    if (typeof kind === "number") made.ours.push(undefined);
    check(
      "posix_spawn_file_actions_adddup2",
      `descriptor ${source}`,
      actions,
      above(source, stdio, made),
      fd,
    );
  }
}

/** A copy of a descriptor that the child's own numbers, given one by one, cannot overwrite before its turn comes. */
function above(fd: number, stdio: readonly Stdio[], made: Descriptors): number {
  if (fd >= stdio.length) return fd;
  const copy = call("fcntlNumber", `descriptor ${fd}`, fd, duplicateCloexec, stdio.length);
  made.theirs.push(copy);
  return copy;
}

const duplicateCloexec = 1030;

/** Makes a pipe, notes our end, and returns the child's. */
function makePipe(childReadsIt: boolean, made: Descriptors): number {
  const pair = Buffer.alloc(8);
  call("pipe2", undefined, pair, 0o2000000);
  const [readEnd, writeEnd] = [pair.readInt32LE(0), pair.readInt32LE(4)];
  made.ours.push(childReadsIt ? writeEnd : readEnd);
  made.theirs.push(childReadsIt ? readEnd : writeEnd);
  return childReadsIt ? readEnd : writeEnd;
}

/** Makes two connected stream sockets, notes ours, and returns the child's. */
function makeSocketPair(made: Descriptors): number {
  const pair = Buffer.alloc(8);
  call("socketpair", undefined, 1, 0o2000001, 0, pair); // AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC
  const [ours, theirs] = [pair.readInt32LE(0), pair.readInt32LE(4)];
  made.ours.push(ours);
  made.theirs.push(theirs);
  return theirs;
}

function childReads(kind: Stdio | undefined, fd: number): boolean {
  return kind === "in" || (kind === "pipe" && fd === 0);
}

function watch(pid: number, stdio: readonly Stdio[], ours: readonly (number | undefined)[]): SpawnedProcess {
  const exited = new Promise<ProcessEnd>(resolve => children.set(pid, resolve));
  keepAlive();
  const sockets = ours.map((fd, at) => {
    if (fd === undefined) return undefined;
    const both = stdio[at] === "socket";
    const reads = childReads(stdio[at], at);
    const socket = new Socket({ fd, readable: both || !reads, writable: both || reads });
    // A child that ends without reading is no failure of ours; its exit code tells.
    socket.on("error", () => {});
    return socket;
  });
  return {
    pid,
    stdio: sockets,
    exited,
    kill(signal) {
      if (children.has(pid)) callRaw("kill", pid, constants.signals[signal]);
    },
  };
}

const children = new Map<number, (end: ProcessEnd) => void>();
let timer: NodeJS.Timeout | undefined;
let listening = false;

/** Whether a child is one of `spawnProcess`, whose end is waited for here. */
export function isSpawned(pid: number): boolean {
  return children.has(pid);
}

/** Before the child is there: one that ends at once must not go unheard. */
function listen(): void {
  if (listening) return;
  process.on("SIGCHLD", reap);
  listening = true;
}

// Signals are delivered to the main thread only; other threads have to look.
const lookMs = isMainThread ? 1000 : 20;

/** Keeps the event loop alive while children run. */
function keepAlive(): void {
  timer ??= setInterval(reap, lookMs);
}

function reap(): void {
  const status = Buffer.alloc(4);
  for (const [pid, resolve] of children) {
    const result = callRaw("waitpid", pid, status, 1);
    if (result === 0) continue;
    children.delete(pid);
    resolve(result === pid ? endOf(status.readInt32LE(0)) : { code: null, signal: null });
  }
  if (children.size === 0) {
    clearInterval(timer);
    timer = undefined;
  }
}

const signalNames = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

function endOf(status: number): ProcessEnd {
  const signal = status & 0x7f;
  return signal === 0
    ? { code: (status >> 8) & 0xff, signal: null }
    : { code: null, signal: signalNames.get(signal) ?? `SIG${signal}` };
}
