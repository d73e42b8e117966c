import { closeSync, openSync } from "node:fs";
import { call } from "./sys.ts";
import { launchWorker } from "./worker.ts";

/** Writes everything of the path's file system to the disk (syncfs(2)). Blocks; see `syncFilesystem`. */
export function syncFilesystemNow(path: string): void {
  const fd = openSync(path, "r");
  try {
    call("syncfs", path, fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes everything of the path's file system to the disk. It may take long, so it runs on a thread of its own: neither
 * the event loop nor libuv's four threads wait for the disk. Calls for the same path that wait share one sync.
 */
export function syncFilesystem(path: string): Promise<void> {
  const waiting = queued.get(path);
  if (waiting) return waiting;
  const next = (running.get(path) ?? Promise.resolve()).then(() => {
    queued.delete(path);
    const work = syncOnThread(path);
    const settled = work.catch(() => {});
    running.set(path, settled);
    void settled.then(() => {
      if (running.get(path) === settled) running.delete(path);
    });
    return work;
  });
  queued.set(path, next);
  return next;
}

const queued = new Map<string, Promise<void>>();
const running = new Map<string, Promise<void>>();

interface Reply {
  readonly id: number;
  readonly error?: unknown;
}

let thread:
  | {
      readonly worker: ReturnType<typeof launchWorker>;
      readonly waiting: Map<number, (reply: Reply) => void>;
    }
  | undefined;
let lastId = 0;

function syncOnThread(path: string): Promise<void> {
  thread ??= startThread();
  const { worker, waiting } = thread;
  const id = ++lastId;
  worker.ref();
  return new Promise((resolve, reject) => {
    waiting.set(id, reply => {
      waiting.delete(id);
      if (waiting.size === 0) worker.unref();
      if (reply.error) reject(reply.error);
      else resolve();
    });
    worker.postMessage({ id, path });
  });
}

function startThread(): NonNullable<typeof thread> {
  const worker = launchWorker("sync-worker", new URL("./sync-worker.ts", import.meta.url));
  const waiting = new Map<number, (reply: Reply) => void>();
  worker.on("message", (reply: Reply) => waiting.get(reply.id)?.(reply));
  worker.on("error", error => {
    thread = undefined;
    for (const [id, settle] of waiting) settle({ id, error });
  });
  worker.unref();
  return { worker, waiting };
}
