export type { AppliedLayer, LayerLimits } from "./apply-stream.ts";
export { type Compression, compress, decompress, detectCompression } from "./compression.ts";
export { createLayerTar, type LayerTarOptions } from "./create-layer-tar.ts";
export { downloadBlob, type HttpBlobOptions } from "./http-blob.ts";
export {
  type ApplyLayerRequest,
  createLayerPool,
  type LayerPool,
  type LayerPoolOptions,
} from "./layer-pool.ts";
export { findKeptPieces, type KeptPiece } from "./partial-blob.ts";
export { type ReadTarEntry, type ReadTarOptions, readTar, type TarPiece } from "./read-tar.ts";
export { type RebuildTarRequest, rebuildTar } from "./rebuild-tar.ts";
export type { TarType } from "./tar-header.ts";
