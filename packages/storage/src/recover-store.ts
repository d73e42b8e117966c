import { containerLayerMark } from "./create-container.ts";
import type { LayerRecord } from "./layer-row.ts";
import { imagePlace } from "./layout.ts";
import { removePartialDownloads } from "./partial-downloads.ts";
import { settle } from "./quarantine.ts";
import { sweepStaging } from "./staging.ts";
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
  removePartialDownloads(imagePlace(layout).own, Date.now() - partialMs);
  const context = lockContext(parts, options);
  await layers.change(context, change =>
    containers.change(context, async ({ list }) => {
      await settle(parts, change);
      const used = new Set(list().map(container => container.layerId));
      const orphans = change.list().filter(layer => isContainerLayer(parts, layer) && !used.has(layer.id));
      for (const { id } of orphans) {
        logger.info("removing a writable layer without a container", { layer: id });
        await mounts.unmountLocked(context, id, { all: true });
      }
      await change.remove(orphans.map(layer => layer.id));
    }),
  );
}

/** Whether a layer was made for a container of ours here; those in an image store are of whoever has it for a graph root. */
export function isContainerLayer({ layers, layout }: StoreParts, { id, metadata }: LayerRecord): boolean {
  return metadata === containerLayerMark && layers.layoutOf(id) === layout;
}
