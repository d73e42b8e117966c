import { randomBytes } from "node:crypto";
import { OcidError } from "@ocid/base";
import type { ContainerRecord } from "./container-records.ts";
import { isId } from "./go-json.ts";
import type { IdMappings } from "./id-mapping.ts";
import { createLayerDirectory } from "./layer-directory.ts";
import { containerLayerRow } from "./layer-row.ts";
import { type CallOptions, getImage, layoutOfLayer, lockContext, type StoreParts } from "./store-parts.ts";

/**
 * Says in a layer's metadata that it is a container's, and ours: such a layer without a container was left by a crash
 * between the two records.
 */
export const containerLayerMark = '{"ocid":"container"}';

export interface CreateContainerRequest {
  /** Letters, digits, `_`, `.` and `-`; the CRI uses 64 hex characters. */
  readonly id: string;
  /** Unique over all containers of the store, those of other programs included. */
  readonly name: string;
  readonly imageId: string;
  /** Kept as it is. Not in the shape of another engine's, or that engine adopts the container. */
  readonly metadata?: string | undefined;
  /**
   * For a container in a user namespace: its writable layer belongs to the namespace's ids. Mount it with that
   * namespace; the image's layers stay as they are.
   */
  readonly idMappings?: IdMappings | undefined;
}

/**
 * Makes a container with a writable layer on an image; a repeat with the same id and image finds it. ALREADY_EXISTS
 * when the name is another one's. The records go to the stable files: users of the store before containers/storage
 * 1.45 do not see the volatile ones, and would remove the image below (docs/adr/0003).
 */
export async function createContainer(
  parts: StoreParts,
  request: CreateContainerRequest,
  options: CallOptions = {},
): Promise<ContainerRecord> {
  if (!isId(request.id))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `not a container id: ${JSON.stringify(request.id.slice(0, 100))} (letters, digits, _ . -)`,
    );
  const context = lockContext(parts, options);
  return await parts.layers.change(context, async layers => {
    const image = getImage(parts, request.imageId);
    return await parts.containers.change(context, async containers => {
      const same = containers.list().find(container => container.id === request.id);
      if (same) {
        if (same.imageId === image.id) return same;
        throw new OcidError(
          "ALREADY_EXISTS",
          `container ${request.id} exists in the store with another image`,
        );
      }
      const other = containers.list().find(container => container.names.includes(request.name));
      if (other)
        throw new OcidError("ALREADY_EXISTS", `the name ${request.name} is taken by container ${other.id}`);
      const layerId = randomId();
      const row = containerLayerRow({
        id: layerId,
        name: `${request.name}-layer`,
        parent: image.layerId,
        metadata: containerLayerMark,
        idMappings: request.idMappings,
      });
      const parent =
        image.layerId === undefined
          ? undefined
          : { overlay: layoutOfLayer(parts, image.layerId).overlay, id: image.layerId };
      const make = () =>
        createLayerDirectory(parts.layout, {
          id: layerId,
          parent,
          idMappings: request.idMappings,
          quota: parts.quota,
        });
      await layers.create([{ row, make }]);
      const container: ContainerRecord = {
        id: request.id,
        names: [request.name],
        imageId: image.id,
        layerId,
        metadata: request.metadata ?? "",
        created: new Date().toISOString(),
        idMappings: request.idMappings,
      };
      try {
        await containers.add(container);
      } catch (error) {
        await layers.remove([layerId]);
        throw error;
      }
      return container;
    });
  });
}

/** Unmounts and removes a container with its writable layer; what is gone already is no error. */
export async function removeContainer(
  parts: StoreParts,
  id: string,
  options: CallOptions = {},
): Promise<void> {
  const context = lockContext(parts, options);
  if (!parts.containers.find(id)) return;
  await parts.layers.change(context, layers =>
    parts.containers.change(context, async containers => {
      const container = containers.list().find(candidate => candidate.id === id);
      if (!container) return;
      await parts.mounts.unmountLocked(context, container.layerId, { all: true });
      await containers.remove(id);
      if (layers.find(container.layerId)) await layers.remove([container.layerId]);
    }),
  );
}

/** 64 hex characters; not ones of which the first twelve could be taken for a number (§C.1). */
function randomId(): string {
  for (;;) {
    const id = randomBytes(32).toString("hex");
    if (!/^\d{12}/.test(id)) return id;
  }
}
