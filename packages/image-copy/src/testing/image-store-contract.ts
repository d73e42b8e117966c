import assert from "node:assert/strict";
import { buffer } from "node:stream/consumers";
import { digestBytes, digestHex } from "@ocid/spec";
import { copyImage } from "../copy-image.ts";
import type { ImageStorePort } from "../ports.ts";
import { createStorageDestination } from "../storage-destination.ts";
import { createStorageSource } from "../storage-source.ts";
import { verifyStoredImage } from "../verify-stored-image.ts";
import { makeTestImage, makeTestIndex } from "./make-image.ts";

export interface ImageStoreContractCase {
  readonly name: string;
  /** Rejects with an AssertionError where a store does not do as copies need. `store` must be empty. */
  run(store: ImageStorePort): Promise<void>;
}

const reference = { registry: "registry.test", repository: "a/b", tag: "1" };
const otherPlatform = { os: "linux", architecture: "s390x" };

/** What copying expects of a store; the one in memory and the real one pass it. */
export const imageStoreContract: readonly ImageStoreContractCase[] = [
  {
    name: "keeps an image with what other tools expect beside it",
    async run(store) {
      const image = await makeTestImage();
      const result = await copyImage(image, createStorageDestination(store, reference));
      const { digest } = image.manifest.descriptor;
      assert.equal(result.digest, digest);
      const found = await store.findImage("registry.test/a/b:1");
      assert.equal(found?.id, digestHex(image.configDigest));
      assert.equal(found.digest, digest);
      assert.deepEqual(found.names, ["registry.test/a/b:1"]);
      assert.deepEqual(found.bigDataNames.slice(0, 3), [
        image.configDigest,
        `manifest-${digest}`,
        "manifest",
      ]);
      assert.deepEqual(Buffer.from(await store.readImageData(found.id, "manifest")), image.manifest.bytes);
      assert.equal(Date.parse(found.created), Date.parse("2024-01-02T03:04:05.678Z"));
      await verifyStoredImage(store, found);
    },
  },
  {
    name: "keeps the index through which an image was found, and finds it by either digest",
    async run(store) {
      const own = await makeTestImage();
      const other = await makeTestImage({ platform: otherPlatform, layers: [{ files: { x: "y" } }] });
      const platform = { os: "linux", architecture: "amd64" };
      const index = makeTestIndex([
        { image: other, platform: otherPlatform },
        { image: own, platform },
      ]);
      const indexDigest = index.manifest.descriptor.digest;
      const byDigest = { registry: "registry.test", repository: "a/b", digest: indexDigest };
      const { image } = await copyImage(index, createStorageDestination(store, byDigest), { platform });
      assert.equal(image?.digest, indexDigest);
      assert.deepEqual(image.names, [`registry.test/a/b@${indexDigest}`]);
      assert.deepEqual(image.bigDataNames.slice(1, 4), [
        `manifest-${indexDigest}`,
        `manifest-${own.manifest.descriptor.digest}`,
        "manifest",
      ]);
      for (const digest of [indexDigest, own.manifest.descriptor.digest])
        assert.equal((await store.findImage(`registry.test/a/b@${digest}`))?.id, image.id);
    },
  },
  {
    name: "gives layers back bit for bit",
    async run(store) {
      const image = await makeTestImage();
      await copyImage(image, createStorageDestination(store, reference));
      const source = await createStorageSource(store, "registry.test/a/b:1");
      for (const [at, diffId] of image.diffIds.entries())
        assert.equal(digestBytes(await buffer(source.unpacked!.openTar(at))), diffId);
      const chain = await store.layerChain((await store.findImage("registry.test/a/b:1"))!.layerId!);
      assert.deepEqual(
        chain.map(layer => [layer.diffId, layer.compressedDigest, layer.compressedSize]).reverse(),
        image.layers.map((layer, at) => [image.diffIds[at], layer.digest, layer.size]),
      );
    },
  },
  {
    name: "takes images without layers, with equal layers and with layers that are there",
    async run(store) {
      const empty = await makeTestImage({ layers: [] });
      const none = await copyImage(empty, createStorageDestination(store, { ...reference, tag: "empty" }));
      assert.equal(none.image?.layerId, undefined);
      const twice = { files: { same: "content" } };
      const equal = await makeTestImage({ layers: [twice, { files: { other: "1" } }, twice] });
      const second = await copyImage(equal, createStorageDestination(store, { ...reference, tag: "equal" }));
      assert.equal((await store.layerChain(second.image!.layerId!)).length, 3);
      await verifyStoredImage(store, second.image!);
      const grown = await makeTestImage({
        layers: [twice, { files: { other: "1" } }, twice, { files: { more: "2" } }],
      });
      await copyImage(grown, createStorageDestination(store, { ...reference, tag: "grown" }));
      const fetched = grown.reads.filter(digest => grown.layers.some(layer => layer.digest === digest));
      assert.deepEqual(fetched, [grown.layers[3]!.digest]);
    },
  },
  {
    name: "moves a name to the image that has it now, and adds names to the one that is there",
    async run(store) {
      const first = await makeTestImage();
      const second = await makeTestImage({ layers: [{ files: { a: "b" } }] });
      await copyImage(first, createStorageDestination(store, reference));
      await copyImage(first, createStorageDestination(store, { ...reference, tag: "2" }));
      await copyImage(second, createStorageDestination(store, reference));
      assert.deepEqual((await store.findImage(digestHex(first.configDigest)))?.names, [
        "registry.test/a/b:2",
      ]);
      assert.equal((await store.findImage("registry.test/a/b:1"))?.id, digestHex(second.configDigest));
      assert.equal((await store.listImages()).length, 2);
    },
  },
  {
    name: "publishes nothing of an image whose layer is wrong",
    async run(store) {
      const image = await makeTestImage();
      const [, top] = image.layers;
      image.blobs.set(top!.digest, Buffer.alloc(top!.size, 1));
      await assert.rejects(copyImage(image, createStorageDestination(store, reference)), {
        code: "DATA_LOSS",
      });
      assert.deepEqual(await store.listImages(), []);
      assert.equal(await store.findLayer(image.diffIds), undefined);
    },
  },
  {
    name: "refuses a layer that is not what the config promises",
    async run(store) {
      const image = await makeTestImage();
      const layer = image.layers[0]!;
      const source = await image.blobSource(layer);
      await assert.rejects(store.stageLayer({ descriptor: layer, source, diffId: image.diffIds[1]! }), {
        code: "DATA_LOSS",
      });
    },
  },
];
