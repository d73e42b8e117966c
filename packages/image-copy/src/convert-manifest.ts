import { OcidError } from "@ocid/base";
import {
  type Descriptor,
  digestBytes,
  type ImageIndex,
  type ImageManifest,
  mediaTypes,
  parseJsonObject,
} from "@ocid/spec";
import type { ManifestBytes } from "./image-source.ts";
import { formatOf, layerCompression, layerMediaType, type ManifestFormat } from "./layer-media-type.ts";

export function isImageConfig(mediaType: string): boolean {
  return mediaType === mediaTypes.ociConfig || mediaType === mediaTypes.dockerConfig;
}

/** A descriptor of a config or layer as the other format has it; the bytes stay, so the digest does. */
export function convertDescriptor(descriptor: Descriptor, format: ManifestFormat): Descriptor {
  if (formatOf(descriptor.mediaType) === format) return descriptor;
  const { digest, size, annotations } = descriptor;
  const kept = format === "oci" && annotations !== undefined ? { annotations } : {};
  if (isImageConfig(descriptor.mediaType))
    return {
      mediaType: format === "oci" ? mediaTypes.ociConfig : mediaTypes.dockerConfig,
      digest,
      size,
      ...kept,
    };
  const compression = layerCompression(descriptor.mediaType);
  if (compression === undefined)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `content of type ${descriptor.mediaType} cannot be part of an image in ${format} format`,
    );
  return { mediaType: layerMediaType(format, compression), digest, size, ...kept };
}

/** The manifest with other layers, or in another format; everything else that the format knows stays. */
export function convertManifest(
  original: ManifestBytes,
  manifest: ImageManifest,
  layers: readonly Descriptor[],
  format: ManifestFormat,
): ManifestBytes {
  const same = formatOf(original.descriptor.mediaType) === format;
  const raw = same ? parseJsonObject(original.bytes, "manifest") : {};
  const mediaType = format === "oci" ? mediaTypes.ociManifest : mediaTypes.dockerManifest;
  const annotations = format === "oci" ? manifest.annotations : undefined;
  return serialise(
    {
      ...raw,
      schemaVersion: 2,
      mediaType,
      config: convertDescriptor(manifest.config, format),
      layers: layers.map(layer => convertDescriptor(layer, format)),
      ...(annotations === undefined ? {} : { annotations }),
    },
    mediaType,
  );
}

/** The index with other entries, or in another format. */
export function convertIndex(
  original: ManifestBytes,
  index: ImageIndex,
  manifests: readonly Descriptor[],
  format: ManifestFormat,
): ManifestBytes {
  const same = formatOf(original.descriptor.mediaType) === format;
  const raw = same ? parseJsonObject(original.bytes, "index") : {};
  const mediaType = format === "oci" ? mediaTypes.ociIndex : mediaTypes.dockerManifestList;
  const annotations = format === "oci" ? index.annotations : undefined;
  return serialise(
    { ...raw, schemaVersion: 2, mediaType, manifests, ...(annotations === undefined ? {} : { annotations }) },
    mediaType,
  );
}

function serialise(document: object, mediaType: string): ManifestBytes {
  const bytes = Buffer.from(JSON.stringify(document));
  return { descriptor: { mediaType, digest: digestBytes(bytes), size: bytes.byteLength }, bytes };
}
