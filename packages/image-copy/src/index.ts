export { type CompareOptions, type Comparison, compareImage, type Verdict } from "./compare-image.ts";
export { type CopyOptions, type CopyResult, copyImage } from "./copy-image.ts";
export { createDirectoryDestination, createDirectorySource } from "./directory-transport.ts";
export { type ImageName, parseImageName, referenceOf } from "./image-name.ts";
export type { BlobDestination, CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";
export { type ImportOptions, importDirectory } from "./import-image.ts";
export { type ImageInspection, inspectImage } from "./inspect-image.ts";
export { createLayoutDestination, createLayoutSource } from "./layout-transport.ts";
export type { ImageRecord, ImageStorePort, LayerRecord, StagedLayer, StageLayerRequest } from "./ports.ts";
export type { CopyProgress, OnProgress } from "./progress.ts";
export { createRegistryDestination, createRegistrySource } from "./registry-transport.ts";
export {
  createStorageDestination,
  createStorageSource,
  type StorageDestination,
} from "./storage-transport.ts";
