import { randomBytes } from "node:crypto";
import { mkdirSync, readSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { type Logger, Semaphore, wrapError } from "@ocid/base";
import { type LockMode, lockFile } from "@ocid/host";
import { type Layout, placesOf } from "./layout.ts";

export interface LockContext {
  readonly logger: Logger;
  readonly signal?: AbortSignal | undefined;
}

/** A held lock of the store. */
export interface StoreLock extends Disposable {
  /** What the last one to change something left; differs from an earlier one when something has changed since. */
  token(): string;
  /** Tells other programs that what the lock guards has changed; call it before the change is published. */
  touch(): void;
}

/** Writers of this process queue here, in order, and only the first of them asks the kernel. */
const queues = new Map<string, Semaphore>();
let counter = 0n;

/**
 * Takes one of the store's locks. The order is storage, layers, mountpoints, images, containers; whoever holds a later
 * one must not ask for an earlier one. A wait of more than a second is logged with who is in the way.
 */
export async function takeLock(path: string, mode: LockMode, context: LockContext): Promise<StoreLock> {
  const place = mode === "write" ? await queueOf(path).acquire(context.signal) : undefined;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const lock = await lockFile(path, { mode, signal: context.signal, onWait: warner(context.logger) });
    return {
      token: () => readToken(lock.fd),
      touch: () => touch(lock.fd),
      [Symbol.dispose]() {
        lock.release();
        place?.[Symbol.dispose]();
      },
    };
  } catch (error) {
    place?.[Symbol.dispose]();
    throw context.signal?.aborted ? context.signal.reason : wrapError(`take the store's lock ${path}`, error);
  }
}

/** Takes the lock of the layers: where images are apart, that of the graph root, then that of the image store. */
export async function takeLayersLock(
  layout: Layout,
  mode: LockMode,
  context: LockContext,
): Promise<Disposable> {
  using undo = new DisposableStack();
  for (const { locks } of placesOf(layout)) undo.use(await takeLock(locks.layers, mode, context));
  return undo.move();
}

function queueOf(path: string): Semaphore {
  const queue = queues.get(path) ?? new Semaphore(1);
  queues.set(path, queue);
  return queue;
}

function warner(logger: Logger) {
  return (wait: { path: string; holderPid: number | undefined; waitedMs: number }): void => {
    if (wait.waitedMs < 1000) return;
    logger.warn("waiting for a lock of the store that another process holds", {
      lock: wait.path,
      holderPid: wait.holderPid,
      waitedMs: Math.round(wait.waitedMs),
    });
  };
}

function readToken(fd: number): string {
  const bytes = Buffer.alloc(64);
  return bytes.toString("latin1", 0, readSync(fd, bytes, 0, 64, 0));
}

/** What no other process has. */
const own = randomBytes(64);

/** Sixty-four new bytes at the start of the lock file: time, counter, pid, random. Readers compare, nothing more. */
function touch(fd: number): void {
  const token = Buffer.from(own);
  token.writeBigUInt64LE(BigInt(Date.now()) * 1_000_000n, 0);
  token.writeBigUInt64LE(++counter, 8);
  token.writeUInt32LE(process.pid, 16);
  writeSync(fd, token, 0, 64, 0);
}
