import { renameSync } from "node:fs";
import { join } from "node:path";
import type { DiffId } from "@ocid/spec";
import { createLayerDirectory } from "./layer-directory.ts";
import { imageLayerRow, type LayerRecord, layerIds } from "./layer-records.ts";
import { imagePlace } from "./layout.ts";
import { requireStaged, type Staged, type StagedLayer } from "./stage-layer.ts";
import { type CallOptions, findLayer, layoutOfLayer, lockContext, type StoreParts } from "./store-parts.ts";
import { syncPlaces } from "./sync-places.ts";
import { syncPaths } from "./write-record.ts";

/** Layers whose files are on the disk: all that were staged when a sync of the file system began. */
const synced = new WeakSet<Staged>();

/**
 * Publishes a staged layer on top of those below it. It counts from the moment its record is complete, and by then
 * everything of it is on the disk: its content by one syncfs, which runs before the lock is taken and serves all
 * layers that are staged by then (an image in the best case), the few names made under the lock by fsync.
 */
export async function commitLayer(
  parts: StoreParts,
  layer: StagedLayer,
  below: readonly DiffId[],
  options: CallOptions = {},
): Promise<LayerRecord> {
  const staged = requireStaged(parts, layer);
  const ids = layerIds([...below, staged.diffId]);
  const id = ids.at(-1)!;
  const parent = ids.at(-2);
  const there = findLayer(parts, id);
  if (there) return there.layer;
  if (!synced.has(staged)) await syncStaged(parts);
  options.signal?.throwIfAborted();
  return await parts.layers.change(lockContext(parts, options), async layers => {
    const existing = layers.find(id);
    if (existing) return existing;
    const above =
      parent === undefined ? undefined : { overlay: layoutOfLayer(parts, parent).overlay, id: parent };
    const make = async () => {
      await createLayerDirectory(imagePlace(parts.layout), { id, parent: above, staged: staged.content });
      renameSync(staged.tarSplit, join(parts.layout.layers, `${id}.tar-split.gz`));
      await syncPaths([parts.layout.layers]);
    };
    return await layers.create(imageLayerRow(id, parent, staged.applied), make, { ofImage: true });
  });
}

async function syncStaged(parts: StoreParts): Promise<void> {
  const covered = [...parts.staged];
  await syncPlaces(parts);
  for (const staged of covered) synced.add(staged);
}
