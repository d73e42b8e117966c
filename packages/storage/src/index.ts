export type { BigData } from "./big-data.ts";
export type { CheckOptions, Finding } from "./check-store.ts";
export type { Collected, CollectOptions } from "./collect-garbage.ts";
export type { CommitContainerRequest } from "./commit-container.ts";
export type { ContainerChange } from "./container-changes.ts";
export type { ContainerRecord } from "./container-records.ts";
export type { CreateContainerRequest } from "./create-container.ts";
export type { DiskUsage } from "./disk-usage.ts";
export { digestsOf } from "./find-image.ts";
export type { IdMappings } from "./id-mapping.ts";
export type { ImageDiskUsage } from "./image-disk-usage.ts";
export type { ImageRecord } from "./image-records.ts";
export type { LayerRecord } from "./layer-records.ts";
export type { PartialDownload } from "./partial-downloads.ts";
export type { QuarantineEntry } from "./quarantine.ts";
export type { RemovedImage } from "./remove-image.ts";
export { type ScrubOptions, scrubStore } from "./scrub-store.ts";
export type { StagedLayer, StageLayerRequest } from "./stage-layer.ts";
export { loadStorageConf, type StorageConf } from "./storage-conf.ts";
export {
  type MountedImage,
  openStore,
  type PutImageRequest,
  Store,
  type StoreOptions,
  type StoreUsage,
} from "./store.ts";
export type { CallOptions } from "./store-parts.ts";
