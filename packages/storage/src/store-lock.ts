import { randomBytes } from "node:crypto";
import { mkdirSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import type { Logger } from "@ocid/base";
import { type FileLock, type LockMode, lockFile } from "@ocid/host";

export interface LockContext {
  readonly logger: Logger;
  readonly signal?: AbortSignal | undefined;
}

/** A held lock of the store. */
export interface StoreLock extends Disposable {
  /** Tells other programs that what the lock guards has changed; call it before the change is published. */
  touch(): void;
}

let counter = 0n;

/** Takes one of the store's locks, saying in the log who is in the way when that takes a second. */
export async function takeLock(path: string, mode: LockMode, context: LockContext): Promise<StoreLock> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  let waits = 0;
  const lock = await lockFile(path, {
    mode,
    signal: context.signal,
    onWait(wait) {
      if (waits++ > 0)
        context.logger.warn("waiting for a lock of the store that another process holds", {
          lock: wait.path,
          holderPid: wait.holderPid,
          waitedMs: Math.round(wait.waitedMs),
        });
    },
  });
  return { touch: () => touch(lock), [Symbol.dispose]: () => lock.release() };
}

/** Sixty-four new bytes at the start of the lock file: time, counter, pid, random. Readers compare, nothing more. */
function touch(lock: FileLock): void {
  const token = randomBytes(64);
  token.writeBigUInt64LE(BigInt(Date.now()) * 1_000_000n, 0);
  token.writeBigUInt64LE(++counter, 8);
  token.writeUInt32LE(process.pid, 16);
  writeSync(lock.fd, token, 0, 64, 0);
}
