export type { ContainerRecord } from "./container-records.ts";
export type { DiskUsage } from "./disk-usage.ts";
export { type BigData, digestsOf, type ImageRecord } from "./image-records.ts";
export type { LayerRecord } from "./layer-records.ts";
export { loadStorageConf, type StorageConf } from "./storage-conf.ts";
export {
  type CallOptions,
  openStore,
  type StagedLayer,
  type StageLayerRequest,
  Store,
  type StoreOptions,
} from "./store.ts";
