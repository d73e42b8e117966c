import { readCapped } from "@ocid/base";
import { type Descriptor, maxManifestBytes, verifyBytes } from "@ocid/spec";
import { onSide } from "./copy-side.ts";
import type { CallOptions, ImageSource } from "./image-source.ts";

/** Reads a config into memory, capped and verified. */
export async function readConfig(
  source: ImageSource,
  descriptor: Descriptor,
  options: CallOptions,
): Promise<Uint8Array> {
  return await onSide("source", source.name, async () => {
    const bytes = await readCapped(
      source.openBlob(descriptor, options),
      Math.min(maxManifestBytes, descriptor.size),
      `config ${descriptor.digest}`,
    );
    verifyBytes(bytes, descriptor);
    return bytes;
  });
}
