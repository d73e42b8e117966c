export { type CallOptions, type Cni, type CniOptions, openCni, type PodNetworkRequest } from "./cni.ts";
export { loadNetwork, type NetworkList, type PluginConfig } from "./network-list.ts";
export { findPlugin } from "./plugin.ts";
