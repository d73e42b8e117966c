export {
  type CallOptions,
  createClient,
  createImageClient,
  createRuntimeClient,
  type ServiceClient,
} from "./client.ts";
export * from "./gen/cri_pb.js";
export { type PullProgress, type PullWatcher, pullServiceDefinition, watchPulls } from "./pull-progress.ts";
export {
  type CallContext,
  EncodedMessage,
  type HandlersOf,
  methodDefinition,
  serviceDefinition,
} from "./service-definition.ts";
