export { type CallOptions, type Cni, type CniOptions, openCni, type PodNetworkRequest } from "./cni.ts";
export { loadNetwork, type NetworkList } from "./network-list.ts";
export { findPlugin } from "./plugin.ts";
