import { open } from "node:fs/promises";
import { OcidError, wrapError } from "@ocid/base";
import { maxManifestBytes } from "@ocid/spec";

/** Reads a manifest, a config or an index out of a file that came from outside; `what` names it in errors. */
export async function readSmallFile(path: string, what: string): Promise<Uint8Array> {
  try {
    const file = await open(path, "r");
    try {
      const { size } = await file.stat();
      if (size > maxManifestBytes)
        throw new OcidError(
          "RESOURCE_EXHAUSTED",
          `it has ${size} bytes, more than the limit of ${maxManifestBytes}`,
        );
      return await file.readFile();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw wrapError(what, error);
  }
}
