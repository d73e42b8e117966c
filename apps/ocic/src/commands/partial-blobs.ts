import { rmSync } from "node:fs";
import { basename, join } from "node:path";
import { isOcidError, OcidError, wrapError } from "@ocid/base";
import { findPartialBlobs, type PartialBlob, parseImageName } from "@ocid/image-copy";
import type { GlobalOptions } from "../global-options.ts";
import { printRows } from "../output/output.ts";
import { formatBytes } from "../output/units.ts";

/** Lists what interrupted copies have left in a layout or a directory, and removes what no living process writes. */
export async function showPartialBlobs(place: string, clear: boolean, options: GlobalOptions): Promise<void> {
  const name = parseImageName(place);
  if (name.transport !== "oci" && name.transport !== "dir")
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${place}: only oci:DIR and dir:DIR keep pieces of interrupted copies`,
    );
  const directories =
    name.transport === "dir" ? [name.path] : ["sha256", "sha512"].map(hash => join(name.path, "blobs", hash));
  const found = (await Promise.all(directories.map(piecesIn))).flat();
  const shown = found.map(piece => {
    const cleared = clear && !piece.inUse;
    if (cleared) rmSync(piece.path, { force: true });
    return { ...piece, cleared };
  });
  const rows = shown.map(({ path, size, inUse, cleared }) => [
    basename(path).split(".")[0]!,
    formatBytes(size),
    cleared ? "removed" : inUse ? "being written" : "kept",
  ]);
  printRows(options.json ?? false, shown, ["blob", "size", "state"], rows);
}

async function piecesIn(directory: string): Promise<readonly PartialBlob[]> {
  try {
    return await findPartialBlobs(directory);
  } catch (error) {
    const wrapped = wrapError(directory, error);
    if (isOcidError(wrapped, "NOT_FOUND")) return [];
    throw wrapped;
  }
}
