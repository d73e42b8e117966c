import { unrecorded } from "./check-store.ts";
import type { LayerRecord } from "./layer-row.ts";
import { placesOf } from "./layout.ts";
import { danglingLayers, listQuarantine, settle } from "./quarantine.ts";
import { isContainerLayer } from "./recover-store.ts";
import { neededLayers } from "./remove-image.ts";
import { sweepStaging } from "./staging.ts";
import { type CallOptions, lockContext, type StoreParts } from "./store-parts.ts";

export interface CollectOptions extends CallOptions {
  /** Layers that no image and no container needs stay for as long: a pull may be about to use them. Default 24 hours. */
  readonly unusedLayersMs?: number | undefined;
}

export interface Collected {
  /** Ids of layers that nothing needed. */
  readonly layers: readonly string[];
  /** Directories, links and temporary files that belonged to no record. */
  readonly paths: readonly string[];
  /** Staging directories of processes that have died. */
  readonly staging: number;
}

/**
 * Removes what nothing needs (§H.6). Layers of other programs that hold somebody's changes, not an image's, stay; so do
 * directories without a record, as long as an image, a container or a layer names one: then records were lost, and
 * `repair` sorts it out.
 */
export async function collectGarbage(parts: StoreParts, options: CollectOptions = {}): Promise<Collected> {
  const staging = await sweepStaging(parts.layout);
  const context = lockContext(parts, options);
  return await parts.layers.change(context, layers =>
    parts.images.change(context, images =>
      parts.containers.change(context, async () => {
        await settle(parts, layers);
        const held = danglingLayers(parts).length > 0;
        const paths = unrecorded(parts).filter(path => !held || !isOfLayer(parts, path));
        for (const path of paths) layers.discard(path);
        const before = Date.now() - (options.unusedLayersMs ?? 24 * 3600 * 1000);
        // What was only half put back from quarantine has its layers here, and no image yet.
        const quarantined = listQuarantine(parts.layout).flatMap(entry => entry.layerIds);
        const needed = new Set([...neededLayers(images.list(), parts.containers.holders()), ...quarantined]);
        const unused = unusedLayers(parts, needed, before);
        for (const id of unused) await parts.mounts.unmountLocked(context, id, { all: true });
        await layers.remove(unused);
        parts.layerUsage.keep(new Set(parts.layers.all()));
        return { layers: unused, paths, staging };
      }),
    ),
  );
}

function unusedLayers(parts: StoreParts, needed: ReadonlySet<string>, beforeMs: number): readonly string[] {
  const all = parts.layers.list();
  const byId = new Map(all.map(layer => [layer.id, layer]));
  const kept = new Set<string>();
  const keep = (layer: LayerRecord | undefined) => {
    for (let at = layer; at && !kept.has(at.id); ) {
      kept.add(at.id);
      at = at.parentId === undefined ? undefined : byId.get(at.parentId);
    }
  };
  for (const layer of all) {
    const disposable = layer.diffId !== undefined || isContainerLayer(parts, layer);
    if (needed.has(layer.id) || !disposable || !(Date.parse(layer.created) <= beforeMs)) keep(layer);
  }
  return all.filter(layer => !kept.has(layer.id)).map(layer => layer.id);
}

function isOfLayer({ layout }: StoreParts, path: string): boolean {
  return placesOf(layout).some(
    ({ overlay, layers }) => path.startsWith(`${overlay}/`) || path.startsWith(`${layers}/`),
  );
}
