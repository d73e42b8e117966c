export type { InjectDevices } from "./adjust/apply.ts";
export { Nri } from "./nri.ts";
export type {
  ContainerEvent,
  ContainerEviction,
  ContainerUpdate,
  CreateResult,
  NriContainer,
  NriHost,
  NriOptions,
  NriPod,
  NriState,
  PodEvent,
  SeccompProfile,
  UpdateResult,
  ValidatorOptions,
  Wishes,
} from "./types.ts";
