import { closeSync, constants, openSync } from "node:fs";
import { errnoName, systemError } from "./errno.ts";
import { pause } from "./pause.ts";
import { callRaw, lastErrno } from "./sys.ts";

export type LockMode = "read" | "write";

/** A held lock; `fd` is open on the lock file for as long. */
export interface FileLock extends Disposable, AsyncDisposable {
  readonly fd: number;
  release(): void;
}

export interface LockOptions {
  readonly mode: LockMode;
  readonly signal?: AbortSignal | undefined;
  /** Called when the lock is not to be had at once, and again each second. */
  readonly onWait?:
    | ((wait: {
        readonly path: string;
        readonly holderPid: number | undefined;
        readonly waitedMs: number;
      }) => void)
    | undefined;
}

// fcntl(2), "Open file description locks": they conflict with the record locks of other programs, but belong to a
// descriptor, so that closing another one of the same file does not drop them.
const ofdGetLock = 36;
const ofdSetLock = 37;

/** Takes the lock now or returns undefined. The file is made (0644) where it is missing. */
export function tryLockFile(path: string, options: { readonly mode: LockMode }): FileLock | undefined {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o644);
  try {
    if (tryLock(fd, options.mode, path)) return held(fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  closeSync(fd);
  return undefined;
}

/**
 * Waits for the lock on a whole file, asking again with growing pauses (1 to 20 ms): a waiting fcntl would occupy one
 * of libuv's threads. Rejects with the signal's reason.
 */
export async function lockFile(path: string, options: LockOptions): Promise<FileLock> {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o644);
  const start = performance.now();
  let told = 0;
  try {
    for (let pauseMs = 1; ; pauseMs = Math.min(20, pauseMs * 1.5)) {
      options.signal?.throwIfAborted();
      if (tryLock(fd, options.mode, path)) return held(fd);
      const waitedMs = performance.now() - start;
      if (options.onWait && waitedMs >= told) {
        told = waitedMs + 1000;
        options.onWait({ path, holderPid: holder(fd, options.mode), waitedMs });
      }
      await pause(pauseMs, options.signal);
    }
  } catch (error) {
    closeSync(fd);
    throw options.signal?.aborted ? options.signal.reason : error;
  }
}

function tryLock(fd: number, mode: LockMode, path: string): boolean {
  if (callRaw("fcntl", fd, ofdSetLock, flock(mode)) !== -1) return true;
  const errno = lastErrno();
  const name = errnoName(errno);
  if (name === "EAGAIN" || name === "EACCES") return false;
  throw systemError("fcntl", errno, path);
}

/** Pid of a process that holds it: known for record locks, unknown (-1) for those of open file descriptions. */
function holder(fd: number, mode: LockMode): number | undefined {
  const lock = flock(mode);
  if (callRaw("fcntl", fd, ofdGetLock, lock) === -1) return undefined;
  const pid = lock.readInt32LE(24);
  return pid > 0 ? pid : undefined;
}

/** struct flock of 64-bit Linux over the whole file: type, whence, start, length, pid. */
function flock(mode: LockMode): Buffer {
  const buffer = Buffer.alloc(32);
  buffer.writeInt16LE(mode === "read" ? 0 : 1, 0);
  return buffer;
}

function held(fd: number): FileLock {
  let open = true;
  const release = () => {
    if (open) closeSync(fd);
    open = false;
  };
  return { fd, release, [Symbol.dispose]: release, [Symbol.asyncDispose]: async () => release() };
}
