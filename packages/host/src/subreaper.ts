import type { ChildProcess } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { readFileSync } from "node:fs";
import { isSpawned } from "./spawn-process.ts";
import { call, callRaw } from "./sys.ts";

/**
 * Makes this process the parent of orphaned descendants (prctl(2), PR_SET_CHILD_SUBREAPER) and reaps them when they
 * end; an init that reaps late would leave zombies for seconds. Children of `spawnProcess` and of node:child_process
 * are left to whoever waits for them. For the main thread; dispose of it to stop.
 */
export function becomeSubreaper(): Disposable {
  call("prctl", "PR_SET_CHILD_SUBREAPER", 36, 1, 0, 0, 0);
  const owned = ownChildren();
  let timer: NodeJS.Timeout | undefined;
  let seen: ReadonlySet<number> = new Set();
  // A zombie is nobody's when libuv, which hears of it by the same signal, has had a turn of its loop and left it.
  const look = () => {
    timer = undefined;
    // The usual case, after each spawned program: one call tells that nobody is left over.
    const zombies = isZombie(anyChild)
      ? mainThreadChildren().filter(pid => !isSpawned(pid) && !owned.has(pid) && isZombie(pid))
      : [];
    for (const pid of zombies) if (seen.has(pid)) callRaw("waitpid", pid, null, 1);
    seen = new Set(zombies.filter(pid => !seen.has(pid)));
    if (seen.size > 0) schedule();
  };
  const schedule = () => {
    timer ??= setTimeout(look, 50).unref();
  };
  process.on("SIGCHLD", schedule);
  schedule();
  return {
    [Symbol.dispose]() {
      process.off("SIGCHLD", schedule);
      clearTimeout(timer);
      owned[Symbol.dispose]();
      call("prctl", "PR_SET_CHILD_SUBREAPER", 36, 0, 0, 0, 0);
    },
  };
}

/** Pids that node:child_process waits for, told by its diagnostics channel. */
function ownChildren(): Disposable & { has(pid: number): boolean } {
  const children = new Set<ChildProcess>();
  const created = (message: unknown) => {
    const child = (message as { process?: ChildProcess }).process;
    if (!child) return;
    children.add(child);
    const forget = () => children.delete(child);
    child.once("exit", forget);
    // A listener for "error" would hide it from whoever forgot one; a child that never was has no pid to keep.
  };
  subscribe("child_process", created);
  return {
    has(pid) {
      for (const child of children) if (child.pid === pid) return true;
      return false;
    },
    [Symbol.dispose]() {
      unsubscribe("child_process", created);
    },
  };
}

const anyChild = 0;

/** Whether a child has ended and nobody has waited for it, without waiting for it either (waitid(2), WNOWAIT). */
function isZombie(pid: number | typeof anyChild): boolean {
  const info = Buffer.alloc(128);
  const kind = pid === anyChild ? 0 : 1; // P_ALL, P_PID
  const options = 0x01000005; // WNOWAIT | WEXITED | WNOHANG
  return callRaw("waitid", kind, pid, info, options) === 0 && info.readInt32LE(siPid) !== 0;
}

/** Where siginfo_t has the pid, on 64-bit machines; it stays zero when no child has ended. */
const siPid = 16;

/** Children of the main thread: the first thread of a process that has not ended is whom the kernel gives orphans to. */
function mainThreadChildren(): readonly number[] {
  try {
    return readFileSync(`/proc/self/task/${process.pid}/children`, "utf8")
      .split(" ")
      .filter(Boolean)
      .map(Number);
  } catch {
    return [];
  }
}
