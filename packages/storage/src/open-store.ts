import { join } from "node:path";
import { type Logger, silentLogger } from "@ocid/base";
import { requireProjectQuotas } from "@ocid/host";
import { createLayerPool, type LayerPool } from "@ocid/layer";
import { ContainerRecords } from "./container-records.ts";
import { refuseForeignShapes } from "./foreign-shapes.ts";
import { ImageRecords } from "./image-records.ts";
import type { LayerQuota } from "./layer-quota.ts";
import { LayerRecords } from "./layer-records.ts";
import { LayerUsage } from "./layer-usage.ts";
import { placesOf, prepareLayout } from "./layout.ts";
import { Mounts } from "./mounts.ts";
import { Store } from "./store.ts";
import { openAdditionalStore } from "./store-parts.ts";

export interface StoreOptions {
  /** containers/storage's graph root, for example /var/lib/containers/storage. Made where it is missing. */
  readonly root: string;
  /** The run root, on a file system that a reboot clears. */
  readonly runRoot: string;
  /**
   * A further graph root, in which images and their layers are, apart from containers: `imagestore` of storage.conf.
   * Images that are in `root` already stay there, and are used. Default none.
   */
  readonly imageStore?: string | undefined;
  /** `mountopt` of storage.conf. */
  readonly mountOptions?: readonly string[] | undefined;
  /** Graph roots of further stores whose images are used but never changed: `additionalimagestores` of storage.conf. */
  readonly additionalStores?: readonly string[] | undefined;
  /**
   * What each container that is made from now on may write: `size` and `inodes` of storage.conf. FAILED_PRECONDITION
   * where the file system of `root` keeps no project quotas.
   */
  readonly quota?: LayerQuota | undefined;
  /** Threads that unpack; one is made, and disposed of with the store, when none is given. */
  readonly layerPool?: LayerPool | undefined;
  readonly logger?: Logger | undefined;
}

/**
 * Opens a store, making it where there is none. FAILED_PRECONDITION when another driver's store is there. The files are
 * read when they are asked for, and never replaced because they cannot be read.
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { root, runRoot, mountOptions = [], logger = silentLogger } = options;
  const layout = prepareLayout(root, runRoot, options.imageStore);
  const places = placesOf(layout);
  for (const place of places) refuseForeignShapes(place);
  if (options.quota) requireProjectQuotas(layout.overlay);
  const others = (options.additionalStores ?? []).filter(other => places.every(({ root }) => root !== other));
  const layers = new LayerRecords(layout, logger);
  return new Store(
    {
      layout,
      logger,
      layers,
      images: new ImageRecords(layout),
      containers: new ContainerRecords(layout),
      mounts: new Mounts(layout, {
        options: mountOptions,
        additional: others.map(other => join(other, "overlay")),
        overlayOf: id => layers.find(id) && layers.layoutOf(id)?.overlay,
      }),
      additional: others.map(other => openAdditionalStore(layout, other, others, mountOptions, logger)),
      pool: options.layerPool ?? createLayerPool(),
      staged: new Set(),
      layerUsage: new LayerUsage(layout),
      quota: options.quota,
    },
    options.layerPool === undefined,
  );
}
