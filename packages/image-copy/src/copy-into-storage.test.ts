import { type Descriptor, digestBytes, mediaTypes } from "@ocid/spec";
import { beforeEach, describe, expect, it } from "vitest";
import { copyImage } from "./copy-image.ts";
import type { ImageSource, ManifestBytes } from "./image-source.ts";
import { createStorageDestination, storedNames } from "./storage-destination.ts";
import { createStorageSource } from "./storage-source.ts";
import { makeTestImage, type TestImage } from "./testing/make-image.ts";
import { createMemoryImageStore, type MemoryImageStore } from "./testing/memory-image-store.ts";

const reference = { registry: "a.test", repository: "b", tag: "1" };

let store: MemoryImageStore;
beforeEach(() => {
  store = createMemoryImageStore();
});

const into = () => createStorageDestination(store, reference);

/** The image with its manifest, or what passes for one, changed. */
function withManifest(image: TestImage, change: (manifest: Record<string, unknown>) => object): ImageSource {
  const document = change(JSON.parse(Buffer.from(image.manifest.bytes).toString()));
  const bytes = Buffer.from(JSON.stringify(document));
  const manifest: ManifestBytes = {
    bytes,
    descriptor: { ...image.manifest.descriptor, digest: digestBytes(bytes), size: bytes.byteLength },
  };
  return { ...image, getManifest: async () => manifest };
}

describe("copying into storage", () => {
  it("refuses what is not an image that can be run", async () => {
    const image = await makeTestImage();
    const layers = image.layers;
    const cases: readonly [(manifest: Record<string, unknown>) => object, object][] = [
      [
        manifest => ({
          ...manifest,
          config: { ...(manifest["config"] as Descriptor), mediaType: "application/x" },
        }),
        { code: "INVALID_ARGUMENT", message: expect.stringContaining("artifact") },
      ],
      [manifest => ({ ...manifest, layers: layers.slice(1) }), { code: "INVALID_ARGUMENT" }],
      [manifest => ({ ...manifest, layers: [...layers, layers[0]] }), { code: "INVALID_ARGUMENT" }],
      [manifest => ({ ...manifest, layers: [...layers].reverse() }), { code: "DATA_LOSS" }],
      [manifest => ({ ...manifest, mediaType: mediaTypes.ociIndex }), { code: "INVALID_ARGUMENT" }],
      [manifest => ({ ...manifest, manifests: [] }), { code: "INVALID_ARGUMENT" }],
      [
        manifest => ({ ...manifest, config: { ...(manifest["config"] as Descriptor), size: 100_000_000 } }),
        { code: "DATA_LOSS" },
      ],
    ];
    for (const [change, error] of cases)
      await expect(copyImage(withManifest(image, change), into())).rejects.toMatchObject(error);
    expect(await store.listImages()).toEqual([]);
    expect(store.stagedLayers).toBe(0);
  });

  it("ends with an index that holds itself, or others without end", async () => {
    const image = await makeTestImage();
    const endless: ImageSource = {
      ...image,
      async getManifest() {
        const entry = { ...image.manifest.descriptor, mediaType: mediaTypes.ociIndex, size: 1_000 };
        const platform = { os: "linux", architecture: "amd64" };
        const text = JSON.stringify({ schemaVersion: 2, manifests: [{ ...entry, platform }] });
        const bytes = Buffer.from(text.padEnd(1_000));
        return { bytes, descriptor: { ...entry, digest: digestBytes(bytes) } };
      },
    };
    const platform = { os: "linux", architecture: "amd64" };
    await expect(copyImage(endless, into(), { platform })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("indexes within indexes"),
    });
  });

  it("is cancelled in the middle without a trace", async () => {
    const image = await makeTestImage();
    const controller = new AbortController();
    const onProgress = ({ kind }: { kind: string }) => {
      if (kind === "bytes") controller.abort(new Error("enough"));
    };
    await expect(copyImage(image, into(), { signal: controller.signal, onProgress })).rejects.toThrow(
      "enough",
    );
    expect(await store.listImages()).toEqual([]);
    expect(store.stagedLayers).toBe(0);
  });

  it("keeps nothing staged when a later layer is wrong", async () => {
    const image = await makeTestImage();
    const { digest, size } = image.layers[0]!;
    image.blobs.set(digest, Buffer.alloc(size));
    await expect(copyImage(image, into())).rejects.toMatchObject({
      code: "DATA_LOSS",
      details: { side: "source" },
      message: expect.stringContaining("memory:image"),
    });
    expect(store.stagedLayers).toBe(0);
  });

  it("says when it is the store that fails", async () => {
    const full = Object.assign(Object.create(store), {
      stageLayer: async () => {
        throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
      },
    });
    const destination = createStorageDestination(full, reference);
    await expect(copyImage(await makeTestImage(), destination)).rejects.toMatchObject({
      code: "RESOURCE_EXHAUSTED",
      details: { side: "destination" },
    });
  });

  it("keeps an image without a name", async () => {
    const image = await makeTestImage();
    const { image: stored } = await copyImage(image, createStorageDestination(store));
    expect(stored?.names).toEqual([]);
    const source = await createStorageSource(store, stored!.id);
    expect(Buffer.from((await source.getManifest()).bytes)).toEqual(image.manifest.bytes);
    await expect(createStorageSource(store, "other")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("storedNames", () => {
  it("keeps tag and digest", () => {
    const digest = digestBytes("x");
    expect(storedNames(reference)).toEqual(["a.test/b:1"]);
    expect(storedNames({ registry: "a.test", repository: "b", digest })).toEqual([`a.test/b@${digest}`]);
    expect(storedNames({ ...reference, digest })).toEqual([`a.test/b@${digest}`, "a.test/b:1"]);
  });
});
