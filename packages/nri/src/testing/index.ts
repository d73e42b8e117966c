export * from "../gen/nri_pb.js";
export type { Handlers } from "../wire/peer.ts";
export { connectPlugin, type PluginHandlers, type TestPlugin } from "./plugin.ts";
