import { closeSync, openSync } from "node:fs";
import { type CallingThread, createCallingThread } from "./calling-thread.ts";
import { unlessAborted } from "./pause.ts";
import { call } from "./sys.ts";
import { launchWorker } from "./worker.ts";

type Place = string | number;

/** Writes everything of the file system of a path or descriptor to the disk (syncfs(2)). Blocks; see `syncFilesystem`. */
export function syncFilesystemNow(where: string | number): void {
  if (typeof where === "number") {
    call("syncfs", `descriptor ${where}`, where);
    return;
  }
  const fd = openSync(where, "r");
  try {
    call("syncfs", where, fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes everything of the file system of a path or descriptor to the disk. It may take long, so it runs on a thread of
 * its own: neither the event loop nor libuv's four threads wait for the disk. Calls for the same place that wait share
 * one sync, which starts after the last of them. The signal ends the waiting, not the sync.
 */
export function syncFilesystem(
  where: string | number,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  let shared = queued.get(where);
  if (!shared) {
    shared = (running.get(where) ?? Promise.resolve()).then(() => {
      queued.delete(where);
      return run(where);
    });
    queued.set(where, shared);
  }
  return unlessAborted(shared, options.signal);
}

const queued = new Map<Place, Promise<void>>();
const running = new Map<Place, Promise<void>>();
let thread: CallingThread<Place, void> | undefined;

function run(where: Place): Promise<void> {
  thread ??= createCallingThread<Place, void>("the sync thread", () =>
    launchWorker("sync-worker", new URL("./sync-worker.ts", import.meta.url)),
  );
  const work = thread.ask(where);
  const settled = work.catch(() => {});
  running.set(where, settled);
  void settled.then(() => {
    if (running.get(where) === settled) running.delete(where);
  });
  return work;
}
