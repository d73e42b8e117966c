import { syncFilesystem } from "@ocid/host";
import { placesOf } from "./layout.ts";
import type { StoreParts } from "./store-parts.ts";

/** Has everything that was written into the store so far on the disk, by a thread that unpacks layers (syncfs(2)). */
export async function syncPlaces({ layout, pool }: StoreParts): Promise<void> {
  for (const { root } of placesOf(layout)) await syncFilesystem(root, { call: () => pool.sync(root) });
}
