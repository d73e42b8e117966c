import { existsSync, readdirSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { containerLayerMark } from "./create-container.ts";
import { sweepStaging, tryLockPath } from "./staging.ts";
import { type CallOptions, lockContext, type StoreParts } from "./store-parts.ts";

/** How long the piece of an interrupted download waits for somebody to go on with it. */
const partialMs = 24 * 3600 * 1000;

/**
 * Clears away what processes that died have left: staging whose lock is free, layers left incomplete, writable layers
 * of ours whose container was never recorded, old pieces of downloads. Nothing that a living process works on.
 */
export async function recoverStore(parts: StoreParts, options: CallOptions): Promise<void> {
  const { layout, logger, layers, containers, mounts } = parts;
  const swept = await sweepStaging(layout);
  if (swept > 0) logger.info("removed staging directories of processes that have died", { count: swept });
  await removeOldPartials(join(layout.own, "partial"));
  const context = lockContext(parts, options);
  await layers.change(context, change =>
    containers.change(context, async ({ list }) => {
      const used = new Set(list().map(container => container.layerId));
      const orphans = change
        .list()
        .filter(layer => layer.metadata === containerLayerMark && !used.has(layer.id));
      for (const { id } of orphans) {
        logger.info("removing a writable layer without a container", { layer: id });
        await mounts.unmountLocked(context, id, { all: true });
      }
      await change.remove(orphans.map(layer => layer.id));
    }),
  );
}

async function removeOldPartials(directory: string): Promise<void> {
  const names = existsSync(directory) ? readdirSync(directory) : [];
  for (const name of names.filter(candidate => !candidate.endsWith(".lock"))) {
    const path = join(directory, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (!stat || Date.now() - stat.mtimeMs < partialMs) continue;
    // All pieces of a blob, `<hex>.<offset>`, have one lock.
    const lockPath = `${path.replace(/\.\d+$/, "")}.lock`;
    using lock = tryLockPath(lockPath);
    if (!lock) continue;
    await rm(path, { force: true });
    await rm(lockPath, { force: true });
  }
}
