import { readdirSync, readFileSync } from "node:fs";
import { readProcess } from "./process-state.ts";
import { isSpawned } from "./spawn-process.ts";
import { call, callRaw } from "./sys.ts";

/**
 * Makes this process the parent of orphaned descendants (prctl(2), PR_SET_CHILD_SUBREAPER) and reaps them when they
 * end; an init that reaps late would leave zombies for seconds. Children of `spawnProcess` and of node:child_process
 * are left to whoever waits for them.
 */
export function becomeSubreaper(): Disposable {
  call("prctl", "PR_SET_CHILD_SUBREAPER", 36, 1, 0, 0, 0);
  let timer: NodeJS.Timeout | undefined;
  const onChild = () => {
    // libuv reaps its own children on the same signal; what is a zombie afterwards is nobody's.
    timer ??= setTimeout(() => {
      timer = undefined;
      reapAdopted();
    }, 50).unref();
  };
  process.on("SIGCHLD", onChild);
  return {
    [Symbol.dispose]() {
      process.off("SIGCHLD", onChild);
      clearTimeout(timer);
      call("prctl", "PR_SET_CHILD_SUBREAPER", 36, 0, 0, 0, 0);
    },
  };
}

function reapAdopted(): void {
  for (const pid of childPids()) {
    if (!isSpawned(pid) && readProcess(pid)?.state === "Z") callRaw("waitpid", pid, null, 1);
  }
}

function childPids(): readonly number[] {
  return readdirSync("/proc/self/task").flatMap(thread => {
    try {
      return readFileSync(`/proc/self/task/${thread}/children`, "utf8")
        .split(" ")
        .filter(Boolean)
        .map(Number);
    } catch {
      return [];
    }
  });
}
