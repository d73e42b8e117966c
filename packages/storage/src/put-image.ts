import { OcidError } from "@ocid/base";
import type { DiffId } from "@ocid/spec";
import type { BigData } from "./big-data.ts";
import type { ImageRecord } from "./image-records.ts";
import { layerIds } from "./layer-records.ts";
import { takeLayersLock } from "./store-lock.ts";
import { type CallOptions, findLayer, lockContext, type StoreParts } from "./store-parts.ts";

export interface PutImageRequest {
  /** Hex of the config's digest. */
  readonly id: string;
  readonly names: readonly string[];
  /** DiffIDs of all its layers, from the base up. */
  readonly stack: readonly DiffId[];
  /** RFC 3339, kept as it is. Default now. */
  readonly created?: string | undefined;
  readonly bigData: readonly BigData[];
  /** The image's metadata instead of what it has. Default: as it is. */
  readonly metadata?: string | undefined;
}

/** Publishes an image. FAILED_PRECONDITION (reason LayerMissing) when its top layer has gone meanwhile. */
export async function putImage(
  parts: StoreParts,
  request: PutImageRequest,
  options: CallOptions = {},
): Promise<ImageRecord> {
  const context = lockContext(parts, options);
  const layerId = layerIds(request.stack).at(-1);
  // Nobody removes the layers between this look and the record that holds them.
  using _layers = await takeLayersLock(parts.layout, "read", context);
  if (layerId !== undefined && !findLayer(parts, layerId))
    throw new OcidError(
      "FAILED_PRECONDITION",
      `image ${request.id} cannot be stored: its layer ${layerId} is missing`,
      { reason: "LayerMissing" },
    );
  return await parts.images.put(context, {
    id: request.id,
    names: request.names,
    layerId,
    created: request.created,
    bigData: request.bigData,
    metadata: request.metadata,
  });
}
