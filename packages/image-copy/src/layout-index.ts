import { join } from "node:path";
import { isOcidError, OcidError } from "@ocid/base";
import {
  choosePlatform,
  currentPlatform,
  type Descriptor,
  type ImageIndex,
  mediaTypes,
  parseManifest,
} from "@ocid/spec";
import { readSmallFile } from "./small-file.ts";

/** Annotation of index.json's entries that holds the tag (image-spec, annotations.md). */
const refName = "org.opencontainers.image.ref.name";

/** Content of the file `oci-layout`. */
export const layoutVersion = '{"imageLayoutVersion":"1.0.0"}';

/** Reads a layout's index.json; `name` stands for the layout in errors. */
export function parseLayoutIndex(bytes: Uint8Array, name: string): ImageIndex {
  const parsed = parseManifest(bytes, mediaTypes.ociIndex);
  if (parsed.kind !== "index") throw new OcidError("INVALID_ARGUMENT", `${name}: index.json is not an index`);
  return parsed.index;
}

/** The index of a layout directory, or an empty one where there is none yet. */
export async function readLayoutIndex(directory: string): Promise<ImageIndex> {
  try {
    const path = join(directory, "index.json");
    return parseLayoutIndex(await readSmallFile(path, path), `oci:${directory}`);
  } catch (error) {
    if (isOcidError(error, "NOT_FOUND")) return { schemaVersion: 2, manifests: [] };
    throw error;
  }
}

/** The entry of a tag; without a tag the only one. NOT_FOUND and INVALID_ARGUMENT list what there is. */
export function chooseEntry(
  { manifests }: Pick<ImageIndex, "manifests">,
  tag: string | undefined,
  name: string,
): Descriptor {
  const named =
    tag === undefined ? manifests : manifests.filter(entry => entry.annotations?.[refName] === tag);
  if (named.length === 1) return named[0]!;
  const names = manifests.map(entry => entry.annotations?.[refName] ?? entry.digest).join(", ");
  if (named.length === 0)
    throw new OcidError(
      "NOT_FOUND",
      `${name} has no image${tag === undefined ? "" : ` ${tag}`} (it has ${names || "none"})`,
    );
  if (named.every(entry => entry.platform))
    return choosePlatform({ schemaVersion: 2, manifests: named }, currentPlatform());
  throw new OcidError("INVALID_ARGUMENT", `${name} has several images; name one of ${names}`);
}

/** The index with an entry more; one of the same tag gives way. */
export function withEntry(
  { manifests, annotations }: Pick<ImageIndex, "manifests" | "annotations">,
  { mediaType, digest, size }: Descriptor,
  tag: string | undefined,
): Uint8Array {
  const others = manifests.filter(entry =>
    tag === undefined
      ? entry.digest !== digest || entry.annotations?.[refName] !== undefined
      : entry.annotations?.[refName] !== tag,
  );
  const entry = {
    mediaType,
    digest,
    size,
    ...(tag === undefined ? {} : { annotations: { [refName]: tag } }),
  };
  const index = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests: [...others, entry],
    ...(annotations === undefined ? {} : { annotations }),
  };
  return Buffer.from(JSON.stringify(index));
}
