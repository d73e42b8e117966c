import { closeSync, openSync } from "node:fs";
import { type CallingThread, createCallingThread } from "./calling-thread.ts";
import { unlessAborted } from "./pause.ts";
import { call, callRaw } from "./sys.ts";
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

const syncFileRangeWrite = 2;

/**
 * Has the kernel begin to write a range of a file to the disk, and does not wait for it (sync_file_range(2)). It makes
 * a sync that comes later shorter, and promises nothing by itself: where it cannot begin, that sync has more to do, and
 * of an error of the disk the kernel tells that sync. `length` 0: to the end of the file.
 */
export function beginWriting(fd: number, offset: number, length: number): void {
  callRaw("sync_file_range", fd, offset, length, syncFileRangeWrite);
}

export interface SyncOptions {
  /** Ends the waiting, not the sync. */
  readonly signal?: AbortSignal | undefined;
  /** Calls `syncFilesystemNow` in a thread of the caller's that has nothing else to do. Default: in one of its own. */
  readonly call?: ((where: string | number) => Promise<void>) | undefined;
}

/**
 * Writes everything of the file system of a path or descriptor to the disk. It may take long, so it runs on a thread of
 * its own: neither the event loop nor libuv's four threads wait for the disk. Calls for the same place that wait share
 * one sync, which starts after the last of them.
 */
export function syncFilesystem(where: string | number, options: SyncOptions = {}): Promise<void> {
  let shared = queued.get(where);
  if (!shared) {
    shared = (running.get(where) ?? Promise.resolve()).then(() => {
      queued.delete(where);
      return run(where, options.call ?? callInThread);
    });
    queued.set(where, shared);
  }
  return unlessAborted(shared, options.signal);
}

const queued = new Map<Place, Promise<void>>();
const running = new Map<Place, Promise<void>>();
let thread: CallingThread<Place, void> | undefined;

function run(where: Place, make: (where: Place) => Promise<void>): Promise<void> {
  const work = make(where);
  const settled = work.catch(() => {});
  running.set(where, settled);
  void settled.then(() => {
    if (running.get(where) === settled) running.delete(where);
  });
  return work;
}

function callInThread(where: Place): Promise<void> {
  thread ??= createCallingThread<Place, void>("the sync thread", () =>
    launchWorker("sync-worker", new URL("./sync-worker.ts", import.meta.url)),
  );
  return thread.ask(where);
}
