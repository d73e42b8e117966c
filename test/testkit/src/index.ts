export { makeBusyboxRootfs } from "./busybox-rootfs.ts";
export { type Cosign, openCosign } from "./cosign.ts";
export {
  coreImage,
  criuImage,
  type MountFacts,
  mountpointsImage,
  type ProcessFacts,
  wireMessage,
} from "./criu-images.ts";
export {
  type DockerRegistry,
  type DockerRegistryOptions,
  freePort,
  startDockerRegistry,
} from "./docker-registry.ts";
export { difference, leakCheck, type NodeState, readNodeState } from "./leak-check.ts";
export { randomFrom } from "./random-from.ts";
export { mountpointsBelow, tempRoot, unmountBelow } from "./temp-root.ts";
