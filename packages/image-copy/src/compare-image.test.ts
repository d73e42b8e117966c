import { OcidError } from "@ocid/base";
import type { Descriptor, Digest, Reference } from "@ocid/spec";
import { describe, expect, it } from "vitest";
import { compareImage } from "./compare-image.ts";
import { copyImage } from "./copy-image.ts";
import type { ImageSource } from "./image-source.ts";
import { createStorageDestination } from "./storage-destination.ts";
import { makeTestImage, makeTestIndex } from "./testing/make-image.ts";
import { createMemoryImageStore } from "./testing/memory-image-store.ts";
import { verifyStoredImage } from "./verify-stored-image.ts";

const amd64 = { os: "linux", architecture: "amd64" };
const arm64 = { os: "linux", architecture: "arm64" };

/** A registry in which every name points at one thing. */
function registryWith(served: ImageSource | OcidError) {
  const asked: string[] = [];
  const get = async (how: string, reference: Reference) => {
    asked.push(`${how} ${reference.tag ?? reference.digest}`);
    if (served instanceof OcidError) throw served;
    return await served.getManifest(reference.digest);
  };
  return {
    asked,
    resolve: async (reference: Reference) => (await get("HEAD", reference)).descriptor,
    fetchManifest: (reference: Reference) => get("GET", reference),
    openBlob: (_: Reference, descriptor: Descriptor) => (served as ImageSource).openBlob(descriptor),
  };
}

async function store(source: ImageSource, platform = amd64) {
  const images = createMemoryImageStore();
  const reference = { registry: "a.test", repository: "b", tag: "1" };
  const { image } = await copyImage(source, createStorageDestination(images, reference), { platform });
  return { images, image: image! };
}

describe("compareImage", () => {
  it("says same, from one HEAD", async () => {
    const served = await makeTestImage();
    const { image } = await store(served);
    const registry = registryWith(served);
    const { digest } = served.manifest.descriptor;
    expect(await compareImage(registry, image, "a.test/b:1")).toMatchObject({
      verdict: "same",
      localDigest: digest,
      remoteDigest: digest,
    });
    expect(await compareImage(registry, image, `a.test/b@${digest}`)).toMatchObject({ verdict: "same" });
    expect(registry.asked).toEqual(["HEAD 1", `HEAD ${digest}`]);
  });

  it("says stale, from which digest to which", async () => {
    const old = await makeTestImage();
    const { image } = await store(old);
    const now = await makeTestImage({ layers: [] });
    expect(await compareImage(registryWith(now), image, "a.test/b:1")).toMatchObject({
      verdict: "stale",
      localDigest: old.manifest.descriptor.digest,
      remoteDigest: now.manifest.descriptor.digest,
      since: "2024-01-02T03:04:05.678Z",
    });
    const index = makeTestIndex([{ image: now, platform: arm64 }]);
    const registry = registryWith(index);
    expect(await compareImage(registry, image, "a.test/b:1", { platform: arm64 })).toMatchObject({
      verdict: "stale",
      since: "2024-01-02T03:04:05.678Z",
    });
    expect(await compareImage(registry, image, "a.test/b:1", { platform: amd64 })).toMatchObject({
      verdict: "stale",
      since: undefined,
    });
  });

  it("knows the platform's image in an index, whichever of them is asked for", async () => {
    const own = await makeTestImage({ platform: amd64 });
    const other = (label: string) => ({
      platform: arm64,
      image: makeTestImage({ platform: arm64, layers: [{ files: { label } }] }),
    });
    const indexOf = async ({ platform, image }: ReturnType<typeof other>) =>
      makeTestIndex([
        { image: own, platform: amd64 },
        { image: await image, platform },
      ]);
    const before = await indexOf(other("before"));
    const after = await indexOf(other("after"));
    const { image } = await store(before);
    expect(await compareImage(registryWith(before), image, "a.test/b:1")).toMatchObject({ verdict: "same" });
    expect(await compareImage(registryWith(own), image, "a.test/b:1")).toMatchObject({ verdict: "same" });
    const registry = registryWith(after);
    expect(await compareImage(registry, image, "a.test/b:1")).toMatchObject({
      verdict: "same",
      remoteDigest: after.manifest.descriptor.digest,
      detail: expect.stringContaining(own.manifest.descriptor.digest),
    });
    expect(registry.asked).toEqual(["HEAD 1", `GET ${after.manifest.descriptor.digest}`]);
    const replaced = makeTestIndex([{ image: await makeTestImage({ layers: [] }), platform: amd64 }]);
    expect(await compareImage(registryWith(replaced), image, "a.test/b:1")).toMatchObject({
      verdict: "stale",
    });
  });

  it.each([
    ["NOT_FOUND", "gone"],
    ["UNAVAILABLE", "unknown"],
    ["UNAUTHENTICATED", "unknown"],
  ] as const)("takes %s for %s", async (code, verdict) => {
    const { image } = await store(await makeTestImage());
    const failing = registryWith(new OcidError(code, "no such luck"));
    expect(await compareImage(failing, image, "a.test/b:1")).toMatchObject({
      verdict,
      remoteDigest: undefined,
    });
  });

  it.each([
    ["a layer", (digest: Digest) => `layer 1 (${digest})`],
    ["the config", () => "expected"],
  ])("says tampered when %s has changed here", async (what, detail) => {
    const served = await makeTestImage();
    const { images, image } = await store(served);
    const spoilt = {
      ...images,
      async *openLayerTar(id: string) {
        yield* images.openLayerTar(id);
        if (what === "a layer") yield Buffer.from("more");
      },
      async readImageData(id: string, key: string) {
        const bytes = await images.readImageData(id, key);
        return what === "the config" && key === served.configDigest ? Buffer.from("{}") : bytes;
      },
    };
    const registry = registryWith(served);
    const verifyContent = () => verifyStoredImage(spoilt, image);
    expect(await compareImage(registry, image, "a.test/b:1", { verifyContent })).toMatchObject({
      verdict: "tampered",
      detail: expect.stringContaining(detail(served.diffIds[0]!)),
      damage: what === "a layer" ? { layer: served.diffIds[0] } : { item: served.configDigest },
    });
    expect(registry.asked).toEqual([]);
    await expect(verifyStoredImage(images, image)).resolves.toBeUndefined();
  });

  it("does not know what cannot be read here", async () => {
    const served = await makeTestImage();
    const { image } = await store(served);
    const verifyContent = async () => {
      throw new OcidError("NOT_FOUND", "no tar-split");
    };
    expect(await compareImage(registryWith(served), image, "a.test/b:1", { verifyContent })).toMatchObject({
      verdict: "unknown",
      detail: "no tar-split",
    });
  });

  it("is cancelled by its signal", async () => {
    const { image } = await store(await makeTestImage());
    const signal = AbortSignal.abort(new Error("enough"));
    const registry = registryWith(new OcidError("CANCELLED", "aborted"));
    await expect(compareImage(registry, image, "a.test/b:1", { signal })).rejects.toThrow("enough");
  });
});
