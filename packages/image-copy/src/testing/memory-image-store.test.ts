import { describe, it } from "vitest";
import { imageStoreContract } from "./image-store-contract.ts";
import { createMemoryImageStore } from "./memory-image-store.ts";

describe("the image store in memory", () => {
  for (const { name, run } of imageStoreContract) it(name, () => run(createMemoryImageStore()));
});
