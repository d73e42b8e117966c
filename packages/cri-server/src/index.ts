export type { NodeEvent } from "./container-events.ts";
export { type CriServer, type CriServerOptions, createCriServer, type ServerCounts } from "./cri-server.ts";
export type { ContainerOverview, Overview, PodOverview, UsageOverview } from "./overview.ts";
export type * from "./plugins/plugin-port.ts";
export type * from "./ports.ts";
export type { PodIdMappings } from "./runtime-config/user-namespace.ts";
export { parseWorkloadResources, type Workload, type WorkloadResources } from "./workloads.ts";
