import { randomInt } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { tryLockFile } from "@ocid/host";
import type { Layout } from "./layout.ts";

/** A directory to make something in beside the store; others see from its lock that it is in use. */
export interface StagingDirectory extends Disposable {
  readonly path: string;
}

/**
 * Staging for a layer's content, in `overlay/tempdirs`: on the same mount as the layers, and where other programs look
 * for leftovers by the same rule (§D.7).
 */
export function stageContent(layout: Layout): StagingDirectory {
  return stage(join(layout.overlay, "tempdirs"));
}

/** Staging for what goes beside layers.json. */
export function stageMetadata(layout: Layout): StagingDirectory {
  return stage(join(layout.layers, "tmp"));
}

function stage(parent: string): StagingDirectory {
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  for (;;) {
    const number = randomInt(1, 2 ** 47);
    const lockPath = join(parent, `lock-${number}`);
    const path = join(parent, `temp-dir-${number}`);
    const lock = tryLockFile(lockPath, { mode: "write" });
    if (!lock) continue;
    mkdirSync(path, { mode: 0o700 });
    return {
      path,
      [Symbol.dispose]() {
        rmSync(path, { recursive: true, force: true });
        rmSync(lockPath, { force: true });
        lock.release();
      },
    };
  }
}

/** Removes what processes that have died left in staging; returns how many directories that were. */
export function sweepStaging(layout: Layout): number {
  return sweep(join(layout.overlay, "tempdirs")) + sweep(join(layout.layers, "tmp"));
}

function sweep(parent: string): number {
  if (!existsSync(parent)) return 0;
  let removed = 0;
  for (const name of readdirSync(parent)) {
    const number = /^(?:temp-dir|lock)-(.+)$/.exec(name)?.[1];
    if (number === undefined) continue;
    const lock = tryLockFile(join(parent, `lock-${number}`), { mode: "write" });
    if (!lock) continue;
    try {
      if (existsSync(join(parent, `temp-dir-${number}`))) removed++;
      rmSync(join(parent, `temp-dir-${number}`), { recursive: true, force: true });
      rmSync(join(parent, `lock-${number}`), { force: true });
    } finally {
      lock.release();
    }
  }
  return removed;
}
