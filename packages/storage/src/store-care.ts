import type { Digest } from "@ocid/spec";
import { type CheckOptions, checkStore, type Finding } from "./check-store.ts";
import { type Collected, type CollectOptions, collectGarbage } from "./collect-garbage.ts";
import { type ImageDiskUsage, imageDiskUsage } from "./image-disk-usage.ts";
import type { LayerRecord } from "./layer-row.ts";
import { imagePlace } from "./layout.ts";
import { listPartialDownloads, type PartialDownload, removePartialDownloads } from "./partial-downloads.ts";
import {
  listQuarantine,
  type QuarantineEntry,
  quarantineImage,
  quarantineUnrecorded,
  removeQuarantined,
  restoreQuarantined,
} from "./quarantine.ts";
import { rebuildLinks } from "./rebuild-links.ts";
import { recoverStore } from "./recover-store.ts";
import { restoreLayer } from "./restore-layer.ts";
import type { StagedLayer } from "./stage-layer.ts";
import type { CallOptions, StoreParts } from "./store-parts.ts";
import { type StoreUsage, storeUsage } from "./store-usage.ts";

/** What keeps a store whole and small: the part of `Store` that looks after what the rest of it works with. */
export class StoreCare {
  readonly #parts: StoreParts;

  /** @internal */
  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  /** Clears away what processes that died have left: staging, half layers, writable layers of ours without a container. */
  async recover(options: CallOptions = {}): Promise<void> {
    await recoverStore(this.#parts, options);
  }

  /** Compares records, directories and links, and with `deep` all contents; yields what is wrong. */
  check(options: CheckOptions = {}): AsyncGenerator<Finding, void, undefined> {
    return checkStore(this.#parts, options);
  }

  /** Makes broken short links and lower files again; returns the ids of the layers that needed it. */
  async rebuildLinks(options: CallOptions = {}): Promise<readonly string[]> {
    return await rebuildLinks(this.#parts, options);
  }

  /** Puts a freshly staged layer in the place of a damaged one; running containers keep what they have. */
  async restoreLayer(layerId: string, layer: StagedLayer, options: CallOptions = {}): Promise<LayerRecord> {
    return await restoreLayer(this.#parts, layerId, layer, options);
  }

  /**
   * Moves a damaged image, with the layers that nothing else needs, out of the store, from where it can be put back.
   * FAILED_PRECONDITION when a container or a mount uses it.
   */
  async quarantineImage(
    reference: string,
    reason: string,
    options: CallOptions = {},
  ): Promise<QuarantineEntry> {
    return await quarantineImage(this.#parts, reference, reason, options);
  }

  /**
   * Moves layers whose records were lost out of the store; undefined when there are none. Containers' layers stay where
   * they are.
   */
  async quarantineUnrecorded(
    reason: string,
    options: CallOptions = {},
  ): Promise<QuarantineEntry | undefined> {
    return await quarantineUnrecorded(this.#parts, reason, options);
  }

  /** What is in quarantine, the oldest first. */
  listQuarantine(): readonly QuarantineEntry[] {
    return listQuarantine(this.#parts.layout);
  }

  /** Puts what is in quarantine back as it was. FAILED_PRECONDITION when the image is in the store again. */
  async restoreQuarantined(id: string, options: CallOptions = {}): Promise<QuarantineEntry> {
    return await restoreQuarantined(this.#parts, id, options);
  }

  /** Deletes what is in quarantine for good. */
  async removeQuarantined(id: string): Promise<QuarantineEntry> {
    return await removeQuarantined(this.#parts, id);
  }

  /** Removes what nothing needs: leftovers of crashes, things without a record, layers unused for a day. */
  async collectGarbage(options: CollectOptions = {}): Promise<Collected> {
    return await collectGarbage(this.#parts, options);
  }

  /** What interrupted pulls have left for the next ones to go on from. */
  partialDownloads(): readonly PartialDownload[] {
    return listPartialDownloads(imagePlace(this.#parts.layout).own);
  }

  /** Removes what interrupted pulls have left and no living process is at; returns the digests of the blobs. */
  clearPartialDownloads(): readonly Digest[] {
    return removePartialDownloads(imagePlace(this.#parts.layout).own, Number.POSITIVE_INFINITY);
  }

  /** For each image of this store what it takes on the disk, and what removing it would free. */
  async imageDiskUsage(options: CallOptions = {}): Promise<readonly ImageDiskUsage[]> {
    return await imageDiskUsage(this.#parts, options);
  }

  /** Disk space of this store's image layers and data, and of writable layers. Image layers are counted once and then known. */
  async usage(options: CallOptions = {}): Promise<StoreUsage> {
    return await storeUsage(this.#parts, options);
  }
}
