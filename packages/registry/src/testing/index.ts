export type { Fault, FaultRule } from "./faults.ts";
export { makeLargeLayer } from "./large-layer.ts";
export type { TestBlob } from "./memory-repository.ts";
export {
  type SeenRequest,
  startTestRegistry,
  type TestRegistry,
  type TestRegistryOptions,
} from "./test-registry.ts";
