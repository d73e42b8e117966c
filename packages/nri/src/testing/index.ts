export * from "../gen/nri_pb.js";
export { connectPlugin, type PluginHandlers, type TestPlugin } from "./plugin.ts";
