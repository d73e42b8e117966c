import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Logger, OcidError } from "@ocid/base";
import type { LayerPool } from "@ocid/layer";
import type { ContainerRecord, ContainerRecords } from "./container-records.ts";
import { findImage } from "./find-image.ts";
import { type ImageRecord, ImageRecords } from "./image-records.ts";
import type { LayerQuota } from "./layer-quota.ts";
import { LayerRecords } from "./layer-records.ts";
import type { LayerRecord } from "./layer-row.ts";
import type { LayerUsage } from "./layer-usage.ts";
import { type Layout, layoutOf } from "./layout.ts";
import { Mounts } from "./mounts.ts";
import type { Staged } from "./stage-layer.ts";
import type { LockContext } from "./store-lock.ts";

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** What the operations of a store work on. */
export interface StoreParts {
  readonly layout: Layout;
  readonly logger: Logger;
  readonly layers: LayerRecords;
  readonly images: ImageRecords;
  readonly containers: ContainerRecords;
  readonly mounts: Mounts;
  readonly additional: readonly AdditionalStore[];
  readonly pool: LayerPool;
  /** Layers that are unpacked and wait to be published, or to be given back. */
  readonly staged: Set<Staged>;
  readonly layerUsage: LayerUsage;
  /** What each container that is made may write. */
  readonly quota: LayerQuota | undefined;
}

/** A store that is only read: images in it count as ours, its layers may lie below ours (§H.4). */
export interface AdditionalStore {
  readonly layout: Layout;
  readonly layers: LayerRecords;
  readonly images: ImageRecords;
  readonly mounts: Mounts;
}

/** FAILED_PRECONDITION when there is no store of the overlay driver at `root`. */
export function openAdditionalStore(
  main: Layout,
  root: string,
  additional: readonly string[],
  mountOptions: readonly string[],
  logger: Logger,
): AdditionalStore {
  const layout = layoutOf(root, main.runRoot);
  for (const path of [layout.overlay, layout.layers, layout.images])
    if (!existsSync(path))
      throw new OcidError(
        "FAILED_PRECONDITION",
        `the additional image store ${root} is no store of the overlay driver: ${path} is missing`,
      );
  const layers = new LayerRecords(layout, logger);
  return {
    layout,
    layers,
    images: new ImageRecords(layout, { readOnly: true }),
    mounts: new Mounts(main, {
      options: mountOptions,
      additional: additional.map(other => join(other, "overlay")),
      home: layout.overlay,
      overlayOf: id => layers.find(id) && layout.overlay,
    }),
  };
}

export function lockContext(parts: StoreParts, options: CallOptions): LockContext {
  return { logger: parts.logger, signal: options.signal };
}

/** Images of this store and of additional ones; an id counts once, a name belongs to the first that has it. */
export function allImages(parts: StoreParts): readonly ImageRecord[] {
  const images = [...parts.images.list()];
  for (const store of parts.additional)
    for (const image of store.images.list())
      if (!images.some(other => other.id === image.id)) images.push(image);
  return images;
}

export function getImage(parts: StoreParts, reference: string): ImageRecord {
  const image = findImage(allImages(parts), reference);
  if (!image) throw new OcidError("NOT_FOUND", `image ${reference} is not in the store ${parts.layout.root}`);
  return image;
}

export function getContainer(parts: StoreParts, id: string): ContainerRecord {
  const container = parts.containers.find(id);
  if (!container)
    throw new OcidError("NOT_FOUND", `container ${id} is not in the store ${parts.layout.root}`);
  return container;
}

/** A layer, where it is, and among which mounts its own are counted. */
export interface FoundLayer {
  readonly layer: LayerRecord;
  readonly layout: Layout;
  readonly mounts: Mounts;
}

/** A layer of this store, or of an additional one. */
export function findLayer(parts: StoreParts, id: string): FoundLayer | undefined {
  for (const { layers, layout, mounts } of [parts, ...parts.additional]) {
    const layer = layers.find(id);
    if (layer) return { layer, layout: layers.layoutOf(id) ?? layout, mounts };
  }
  return undefined;
}

/** The layout of the store that has a layer; FAILED_PRECONDITION when none has. */
export function layoutOfLayer(parts: StoreParts, id: string): Layout {
  const found = findLayer(parts, id);
  if (!found)
    throw new OcidError("FAILED_PRECONDITION", `layer ${id} is missing from the store ${parts.layout.root}`, {
      reason: "LayerMissing",
    });
  return found.layout;
}

/** The mounts among which a layer's is counted. */
export function mountsOf(parts: StoreParts, layerId: string): Mounts {
  return findLayer(parts, layerId)?.mounts ?? parts.mounts;
}

/** From the top layer down to the base; DATA_LOSS when one is missing. */
export function layerChain(parts: StoreParts, layerId: string): readonly LayerRecord[] {
  const chain: LayerRecord[] = [];
  const ids = new Set<string>();
  for (let id: string | undefined = layerId; id !== undefined; ) {
    const layer: LayerRecord | undefined = findLayer(parts, id)?.layer;
    if (!layer)
      throw new OcidError("DATA_LOSS", `layer ${id} is missing from the store ${parts.layout.root}`);
    if (ids.has(id)) throw new OcidError("DATA_LOSS", `layer ${id} is its own ancestor`);
    ids.add(id);
    chain.push(layer);
    id = layer.parentId;
  }
  return chain;
}
