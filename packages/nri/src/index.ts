export type { InjectDevices } from "./adjust/apply.ts";
export { Nri, type NriOptions } from "./nri.ts";
export type {
  ContainerEvent,
  ContainerEviction,
  ContainerUpdate,
  CreateResult,
  NriContainer,
  NriHost,
  NriPod,
  NriState,
  PodEvent,
  SeccompProfile,
  UpdateResult,
  ValidatorOptions,
  Wishes,
} from "./types.ts";
