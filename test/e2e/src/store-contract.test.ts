import { join } from "node:path";
import { imageStoreContract } from "@ocid/image-copy/testing";
import { openStore } from "@ocid/storage";
import { tempRoot } from "@ocid/testkit";
import { afterAll, describe, test } from "vitest";

const root = tempRoot("contract-");
let count = 0;

afterAll(() => root.remove());

describe("the store on disk is what copying needs", () => {
  for (const { name, run } of imageStoreContract) {
    test(name, async () => {
      const directory = join(root.path, String(++count));
      await using store = await openStore({ root: join(directory, "r"), runRoot: join(directory, "rr") });
      await run(store);
    });
  }
});
