import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Descriptor, digestAlgorithm, digestHex, parseManifest } from "@ocid/spec";
import { readSmallFile } from "./small-file.ts";

/** Deletes blobs of a layout that no manifest of its index needs. */
export async function sweepBlobs(directory: string, manifests: readonly Descriptor[]): Promise<void> {
  const needed = new Set<string>();
  for (const entry of manifests) {
    needed.add(entry.digest);
    const path = join(directory, "blobs", digestAlgorithm(entry.digest), digestHex(entry.digest));
    const parsed = parseManifest(await readSmallFile(path, path));
    if (parsed.kind === "index") return;
    for (const { digest } of [parsed.manifest.config, ...parsed.manifest.layers]) needed.add(digest);
  }
  for (const algorithm of await readdir(join(directory, "blobs")))
    for (const hex of await readdir(join(directory, "blobs", algorithm)))
      if (/^[0-9a-f]+$/.test(hex) && !needed.has(`${algorithm}:${hex}`))
        await rm(join(directory, "blobs", algorithm, hex), { force: true });
}
