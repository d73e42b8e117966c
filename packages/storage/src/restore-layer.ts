import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { linkName, takeModeOfParent } from "./layer-directory.ts";
import type { LayerRecord } from "./layer-row.ts";
import { requireStaged, type StagedLayer } from "./stage-layer.ts";
import { type CallOptions, layoutOfLayer, lockContext, type StoreParts } from "./store-parts.ts";
import { syncPlaces } from "./sync-places.ts";
import { syncPaths } from "./write-record.ts";

/**
 * Puts freshly fetched content in the place of a layer's damaged one, under the layer's id, so that everything above
 * it is whole again. The old content stays beside it (`diff` becomes `replaced-…` in the layer's directory, until the
 * layer is removed): running containers go on with what they have mounted. DATA_LOSS when the content is another layer's.
 */
export async function restoreLayer(
  parts: StoreParts,
  layerId: string,
  fetched: StagedLayer,
  options: CallOptions = {},
): Promise<LayerRecord> {
  const staged = requireStaged(parts, fetched);
  await syncPlaces(parts);
  return await parts.layers.change(lockContext(parts, options), async layers => {
    const layer = layers.find(layerId);
    if (!layer) throw new OcidError("NOT_FOUND", `layer ${layerId} is not in the store ${parts.layout.root}`);
    if (layer.diffId !== staged.diffId)
      throw new OcidError(
        "DATA_LOSS",
        `layer ${layerId} should be ${layer.diffId}, but what was fetched is ${staged.diffId}`,
      );
    const directory = join(layoutOfLayer(parts, layerId).overlay, layerId);
    for (const name of ["", "work", "merged", ...(layer.parentId === undefined ? ["empty"] : [])])
      mkdirSync(join(directory, name), { recursive: true, mode: 0o700 });
    const diff = join(directory, "diff");
    const parent =
      layer.parentId === undefined
        ? undefined
        : { overlay: layoutOfLayer(parts, layer.parentId).overlay, id: layer.parentId };
    takeModeOfParent(staged.content, parent);
    if (existsSync(diff)) renameSync(diff, join(directory, `replaced-${linkName()}`));
    renameSync(staged.content, diff);
    renameSync(staged.tarSplit, join(parts.layout.layers, `${layerId}.tar-split.gz`));
    await syncPaths([diff, directory, parts.layout.layers]);
    parts.layerUsage.forget(layerId);
    return layer;
  });
}
