export type { ContainerMeasurements, ContainerUsage } from "./container-usage.ts";
export { openRuntimeShim, type RuntimeShim } from "./runtime-shim.ts";
export type {
  CallOptions,
  ContainerState,
  ExecResult,
  ExecSyncRequest,
  ExitEvent,
  LaunchRequest,
  RuntimeConfig,
  ShimOptions,
} from "./types.ts";
