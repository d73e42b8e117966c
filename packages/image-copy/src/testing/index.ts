export { type ImageStoreContractCase, imageStoreContract } from "./image-store-contract.ts";
export {
  makeTestImage,
  makeTestIndex,
  type TestImage,
  type TestImageOptions,
  type TestLayer,
} from "./make-image.ts";
export { createMemoryImageStore, type MemoryImageStore } from "./memory-image-store.ts";
