import { renameSync } from "node:fs";
import { join } from "node:path";
import type { DiffId } from "@ocid/spec";
import { createLayerDirectory, type LayerParent } from "./layer-directory.ts";
import { layerIds, type NewLayer } from "./layer-records.ts";
import { imageLayerRow, type LayerRecord } from "./layer-row.ts";
import { imagePlace } from "./layout.ts";
import { requireStaged, type Staged, type StagedLayer } from "./stage-layer.ts";
import { type CallOptions, findLayer, layoutOfLayer, lockContext, type StoreParts } from "./store-parts.ts";
import { syncPlaces } from "./sync-places.ts";

/** Layers whose files are on the disk: all that were staged when a sync of the file system began. */
const synced = new WeakSet<Staged>();

interface Commit {
  readonly id: string;
  readonly parentId: string | undefined;
  readonly staged: Staged;
}

/**
 * Publishes staged layers, each on top of the one before and all on top of those below. They count from the moment their
 * records are complete, and by then everything of them is on the disk: their content by one syncfs, which runs before
 * the lock is taken and serves all layers that are staged by then (an image in the best case), the few names made under
 * the lock by fsync.
 */
export async function commitLayers(
  parts: StoreParts,
  layers: readonly StagedLayer[],
  below: readonly DiffId[],
  options: CallOptions = {},
): Promise<readonly LayerRecord[]> {
  const all = layers.map(layer => requireStaged(parts, layer));
  const ids = layerIds([...below, ...all.map(({ diffId }) => diffId)]);
  const commits = all.map((staged, at): Commit => {
    const place = below.length + at;
    return { id: ids[place]!, parentId: ids[place - 1], staged };
  });
  const records = new Map<string, LayerRecord>();
  const isMissing = ({ id }: Commit, record: LayerRecord | undefined) => {
    if (record) records.set(id, record);
    return record === undefined;
  };
  const missing = commits.filter(commit => isMissing(commit, findLayer(parts, commit.id)?.layer));
  if (missing.some(({ staged }) => !synced.has(staged))) await syncStaged(parts);
  options.signal?.throwIfAborted();
  if (missing.length > 0)
    await parts.layers.change(lockContext(parts, options), async change => {
      const left = missing.filter(commit => isMissing(commit, change.find(commit.id)));
      const added = new Set(left.map(({ id }) => id));
      const rows = left.map(commit => newLayer(parts, commit, parentOf(parts, commit, added)));
      if (rows.length === 0) return;
      for (const record of await change.create(rows, { ofImage: true })) records.set(record.id, record);
    });
  return commits.map(({ id }) => records.get(id)!);
}

function newLayer(
  parts: StoreParts,
  { id, parentId, staged }: Commit,
  parent: LayerParent | undefined,
): NewLayer {
  const { layers } = parts.layout;
  return {
    row: imageLayerRow(id, parentId, staged.applied),
    make: () => {
      const made = createLayerDirectory(imagePlace(parts.layout), { id, parent, staged: staged.content });
      renameSync(staged.tarSplit, join(layers, `${id}.tar-split.gz`));
      return [...made, layers];
    },
  };
}

/** Of layers that are added together, the lower one has no record yet that counts. */
function parentOf(
  parts: StoreParts,
  { parentId }: Commit,
  added: ReadonlySet<string>,
): LayerParent | undefined {
  if (parentId === undefined) return undefined;
  const layout = added.has(parentId) ? imagePlace(parts.layout) : layoutOfLayer(parts, parentId);
  return { overlay: layout.overlay, id: parentId };
}

async function syncStaged(parts: StoreParts): Promise<void> {
  const covered = [...parts.staged];
  await syncPlaces(parts);
  for (const staged of covered) synced.add(staged);
}
