export { makeBusyboxRootfs } from "./busybox-rootfs.ts";
export { type Cosign, openCosign } from "./cosign.ts";
export {
  type DockerRegistry,
  type DockerRegistryOptions,
  freePort,
  startDockerRegistry,
} from "./docker-registry.ts";
export { difference, leakCheck, type NodeState, readNodeState } from "./leak-check.ts";
export { randomFrom } from "./random-from.ts";
export { mountpointsBelow, tempRoot, unmountBelow } from "./temp-root.ts";
