import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { copyImage, createStorageDestination, importImage } from "@ocid/image-copy";
import { imageStoreContract } from "@ocid/image-copy/testing";
import { parseReference } from "@ocid/spec";
import { openStore } from "@ocid/storage";
import { tempRoot } from "@ocid/testkit";
import { afterAll, describe, expect, test } from "vitest";

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

test("a layer that somebody removes before the image holds it is fetched once more", async () => {
  const directory = join(root.path, "removed");
  mkdirSync(join(directory, "tree"), { recursive: true });
  writeFileSync(join(directory, "tree/file"), "content");
  await using store = await openStore({ root: join(directory, "r"), runRoot: join(directory, "rr") });
  await using source = await importImage(join(directory, "tree"), {});
  const reference = parseReference("localhost/box:1");
  const removing = (times: number) => {
    const put = store.putImage.bind(store);
    let left = times;
    store.putImage = async (request, options) => {
      if (left-- > 0) expect((await store.collectGarbage({ unusedLayersMs: 0 })).layers).toHaveLength(1);
      return await put(request, options);
    };
  };
  removing(1);
  const { image } = await copyImage(source, createStorageDestination(store, reference));
  expect(await store.layerChain((await store.getImage(image!.id)).layerId!)).toHaveLength(1);
  await store.removeImage(image!.id);
  removing(2);
  await expect(copyImage(source, createStorageDestination(store, reference))).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    reason: "LayerMissing",
  });
});
