export type { CheckpointRequest } from "./checkpoint.ts";
export type { ContainerMeasurements, ContainerUsage } from "./container-usage.ts";
export type { RuntimeFeatures } from "./runtime-features.ts";
export { openRuntimeShim, type RuntimeShim } from "./runtime-shim.ts";
export type {
  CallOptions,
  ContainerState,
  CreatedContainer,
  ExecResult,
  ExecSyncRequest,
  ExitEvent,
  LaunchRequest,
  RuntimeConfig,
  RuntimeHandler,
  RuntimeType,
  SessionStreams,
  ShimOptions,
} from "./types.ts";
