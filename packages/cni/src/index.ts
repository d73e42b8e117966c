export { type CallOptions, type Cni, type CniOptions, openCni, type PodNetworkRequest } from "./cni.ts";
