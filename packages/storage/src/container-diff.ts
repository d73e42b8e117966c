import { join } from "node:path";
import { createLayerTar } from "@ocid/layer";
import { type ContainerChange, containerChanges } from "./container-changes.ts";
import { toContainerId } from "./id-mapping.ts";
import { type CallOptions, getContainer, lockContext, mountsOf, type StoreParts } from "./store-parts.ts";

export interface ContainerDiffOptions extends CallOptions {
  /** Leaves the marks of removed files out. Default false. */
  readonly withoutRemoved?: boolean;
}

/** What a container has changed, as an uncompressed layer: the same changes give the same bytes. */
export function openContainerDiff(
  parts: StoreParts,
  id: string,
  options: ContainerDiffOptions = {},
): AsyncIterable<Uint8Array> {
  const { layerId, idMappings } = getContainer(parts, id);
  return createLayerTar(join(parts.layout.overlay, layerId, "diff"), {
    signal: options.signal,
    withoutRemoved: options.withoutRemoved,
    ownerOf:
      idMappings &&
      ((uid, gid) => ({
        uid: toContainerId(idMappings.uids, uid),
        gid: toContainerId(idMappings.gids, gid),
      })),
  });
}

/** The paths that a container has added, changed and removed, sorted. */
export async function* listContainerChanges(
  parts: StoreParts,
  id: string,
  options: CallOptions = {},
): AsyncGenerator<ContainerChange, void, undefined> {
  const { layerId } = getContainer(parts, id);
  const parent = parts.layers.find(layerId)?.parentId;
  const upper = join(parts.layout.overlay, layerId, "diff");
  if (parent === undefined) return yield* containerChanges(upper, undefined, options);
  const mounts = mountsOf(parts, parent);
  const lower = await mounts.mount(lockContext(parts, options), parent, { readOnly: true });
  try {
    yield* containerChanges(upper, lower, options);
  } finally {
    await mounts.unmount(lockContext(parts, {}), parent);
  }
}
