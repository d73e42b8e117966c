import { isDockerType, mediaTypes } from "@ocid/spec";

export type ManifestFormat = "oci" | "docker";
export type LayerCompression = "none" | "gzip" | "zstd";

const ociLayers = {
  none: mediaTypes.ociLayer,
  gzip: mediaTypes.ociLayerGzip,
  zstd: mediaTypes.ociLayerZstd,
} as const;
const dockerLayers = {
  none: mediaTypes.dockerLayer,
  gzip: mediaTypes.dockerLayerGzip,
  zstd: mediaTypes.dockerLayerZstd,
} as const;

/** What a manifest's, config's or layer's media type says of its format. */
export function formatOf(mediaType: string): ManifestFormat {
  return isDockerType(mediaType) ? "docker" : "oci";
}

export function layerMediaType(format: ManifestFormat, compression: LayerCompression): string {
  return (format === "oci" ? ociLayers : dockerLayers)[compression];
}

/** How a layer is compressed according to its media type; undefined for what is no layer of files. */
export function layerCompression(mediaType: string): LayerCompression | undefined {
  for (const layers of [ociLayers, dockerLayers])
    for (const compression of ["none", "gzip", "zstd"] as const)
      if (layers[compression] === mediaType) return compression;
  return undefined;
}
