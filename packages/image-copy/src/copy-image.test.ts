import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Digest, digestHex, mediaTypes, parseManifest } from "@ocid/spec";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { copyImageEvents } from "./copy-events.ts";
import { copyImage } from "./copy-image.ts";
import { parseImageName } from "./image-name.ts";
import type { ImageSource } from "./image-source.ts";
import { inspectImage } from "./inspect-image.ts";
import { createImageDestination, type ImageBackends, openImageSource } from "./open-image.ts";
import type { CopyProgress } from "./progress.ts";
import { makeTestImage, makeTestIndex } from "./testing/make-image.ts";
import { createMemoryImageStore } from "./testing/memory-image-store.ts";

let directory: string;
let backends: ImageBackends;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "ocid-copy-"));
  backends = { store: createMemoryImageStore() };
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const at = (name: string) => parseImageName(name.replace("@", `${directory}/`));
const places = ["oci:@layout:1", "oci-archive:@layout.tar:1", "dir:@dir", "containers-storage:a.test/x:1"];

async function copy(source: ImageSource, to: string, options = {}) {
  await using destination = createImageDestination(at(to), backends);
  return await copyImage(source, destination, options);
}

async function copyFrom(from: string, to: string, options = {}) {
  await using source = await openImageSource(at(from), backends);
  return await copy(source, to, options);
}

async function digestAt(place: string): Promise<Digest> {
  await using source = await openImageSource(at(place), backends);
  return (await inspectImage(source)).digest;
}

describe("copyImage", () => {
  it.each(places.flatMap(from => places.filter(to => to !== from).map(to => [from, to] as const)))(
    "keeps the digest from %s to %s",
    async (from, to) => {
      // Level 6 of zlib: what was unpacked into storage is compressed to the same bytes again.
      const image = await makeTestImage({ gzipLevel: 6 });
      await copy(image, from);
      const result = await copyFrom(from, to);
      expect(result.digest).toBe(image.manifest.descriptor.digest);
      expect(await digestAt(to)).toBe(image.manifest.descriptor.digest);
    },
  );

  it.each(places)("keeps the image's id through an archive of docker's, from %s", async from => {
    const image = await makeTestImage();
    await copy(image, from);
    await copyFrom(from, "docker-archive:@saved.tar:a.test/x:1");
    await copyFrom("docker-archive:@saved.tar", "oci:@back");
    await using back = await openImageSource(at("oci:@back"), backends);
    const { manifest, layers } = await inspectImage(back);
    expect(manifest.config.digest).toBe(image.configDigest);
    expect(layers.map(layer => layer.mediaType)).toEqual([mediaTypes.ociLayerGzip, mediaTypes.ociLayerGzip]);
  });

  it("packs layers of storage anew when they were compressed by another program", async () => {
    const image = await makeTestImage({ gzipLevel: 9 });
    await copy(image, "containers-storage:a.test/x:1");
    const result = await copyFrom("containers-storage:a.test/x:1", "dir:@dir");
    expect(result.digest).not.toBe(image.manifest.descriptor.digest);
    expect(result.sourceDigest).toBe(image.manifest.descriptor.digest);
    await expect(
      copyFrom("containers-storage:a.test/x:1", "dir:@other", { preserveDigests: true }),
    ).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    await copy(image, "oci:@there");
    const there = await copyFrom("containers-storage:a.test/x:1", "oci:@there:new", {
      preserveDigests: true,
    });
    expect(there.digest).toBe(image.manifest.descriptor.digest);
  });

  it("converts what readers of a layout would not find, but not when digests count", async () => {
    const image = await makeTestImage({ format: "docker" });
    const result = await copy(image, "oci:@layout:1");
    expect(result.sourceDigest).toBe(image.manifest.descriptor.digest);
    expect(result.changes).toEqual([expect.stringContaining("oci format")]);
    const kept = await copy(image, "oci:@layout:2", { preserveDigests: true });
    expect(kept).toMatchObject({ digest: image.manifest.descriptor.digest, changes: [] });
  });

  it("does not move what is there", async () => {
    const image = await makeTestImage();
    await copy(image, "oci:@layout:1");
    const before = image.reads.length;
    await copy(image, "oci:@layout:2");
    expect(image.reads).toHaveLength(before);
    expect(await digestAt("oci:@layout:1")).toBe(await digestAt("oci:@layout:2"));
  });

  it.each(["oci", "docker"] as const)("converts to %s and back", async format => {
    const other = format === "oci" ? "docker" : "oci";
    const image = await makeTestImage({
      format: other,
      layers: [{ files: { a: "b" }, compression: "zstd" }],
    });
    await copy(image, "dir:@converted", { format });
    await using converted = await openImageSource(at("dir:@converted"), backends);
    const { manifest, mediaType } = await inspectImage(converted);
    expect(mediaType).toBe(format === "oci" ? mediaTypes.ociManifest : mediaTypes.dockerManifest);
    expect(manifest.config.digest).toBe(image.configDigest);
    expect(manifest.layers[0]!.mediaType).toBe(
      format === "oci" ? mediaTypes.ociLayerZstd : mediaTypes.dockerLayerGzip,
    );
    await expect(copy(image, "dir:@refused", { format, preserveDigests: true })).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
    });
  });

  it.each(["none", "gzip", "zstd"] as const)("compresses layers with %s", async layerCompression => {
    const image = await makeTestImage({
      layers: (["none", "gzip", "zstd"] as const).map(compression => ({
        files: { [compression]: compression },
        compression,
      })),
    });
    await copy(image, "oci:@layout", { layerCompression });
    await using source = await openImageSource(at("oci:@layout"), backends);
    const { layers } = await inspectImage(source);
    expect(new Set(layers.map(layer => layer.mediaType)).size).toBe(1);
    const same = layers.filter((layer, index) => layer.digest === image.layers[index]!.digest);
    expect(same).toHaveLength(1);
    await copyFrom("oci:@layout", "containers-storage:a.test/x:1");
  });

  const platforms = ["linux/amd64", "linux/arm64", "linux/s390x"].map(text => {
    const [os, architecture] = text.split("/") as [string, string];
    return { os, architecture };
  });
  const makeIndex = async () =>
    makeTestIndex(
      await Promise.all(
        platforms.map(async platform => ({
          platform,
          image: await makeTestImage({ platform, layers: [{ files: { arch: platform.architecture } }] }),
        })),
      ),
    );

  it.each(["oci:@layout", "oci-archive:@layout.tar", "dir:@dir"])("copies a whole index to %s", async to => {
    const index = await makeIndex();
    expect((await copy(index, to, { all: true })).digest).toBe(index.manifest.descriptor.digest);
    await using source = await openImageSource(at(to), backends);
    for (const platform of platforms)
      expect((await inspectImage(source, { platform })).config.architecture).toBe(platform.architecture);
  });

  it("copies one platform of an index, or a list of them", async () => {
    const index = await makeIndex();
    const one = await copy(index, "oci:@layout:one", { platform: platforms[2] });
    expect(one.indexDigest).toBe(index.manifest.descriptor.digest);
    await copy(index, "oci:@layout:two", { platforms: platforms.slice(1) });
    await using source = await openImageSource(at("oci:@layout:two"), backends);
    expect(
      (await inspectImage(source, { platform: platforms[1] })).platforms.map(entry => entry.platform),
    ).toEqual(platforms.slice(1));
    await expect(inspectImage(source, { platform: platforms[0] })).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining("linux/s390x"),
    });
  });

  it("converts an index with its images", async () => {
    const index = await makeIndex();
    await copy(index, "dir:@dir", { all: true, format: "docker" });
    const bytes = readFileSync(join(directory, "dir/manifest.json"));
    const parsed = parseManifest(bytes);
    expect(parsed.mediaType).toBe(mediaTypes.dockerManifestList);
    expect(parsed.kind === "index" && parsed.index.manifests.map(entry => entry.mediaType)).toEqual(
      platforms.map(() => mediaTypes.dockerManifest),
    );
  });

  it.each(["containers-storage:a.test/x:1", "docker-archive:@saved.tar"])(
    "refuses an index for %s",
    async to => {
      await expect(copy(await makeIndex(), to, { all: true })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    },
  );

  it("refuses layers that lie at foreign URLs", async () => {
    const image = await makeTestImage({ format: "docker" });
    const text = Buffer.from(image.manifest.bytes).toString();
    const bytes = Buffer.from(text.replace(mediaTypes.dockerLayerGzip, mediaTypes.dockerForeignLayerGzip));
    const foreign = {
      ...image,
      getManifest: async () => ({ bytes, descriptor: { ...image.manifest.descriptor, size: bytes.length } }),
    };
    for (const to of ["oci:@layout", "containers-storage:a.test/x:1"])
      await expect(copy(foreign, to)).rejects.toMatchObject({ reason: "ForeignLayer" });
  });

  it.each(["oci:@layout", "oci-archive:@layout.tar", "dir:@dir", "docker-archive:@saved.tar"])(
    "leaves nothing at %s when a layer is wrong, and says that the source is",
    async to => {
      const image = await makeTestImage();
      image.blobs.set(image.layers[1]!.digest, Buffer.alloc(image.layers[1]!.size));
      await expect(copy(image, to)).rejects.toMatchObject({
        code: "DATA_LOSS",
        details: { side: "source" },
        message: expect.stringContaining("memory:image"),
      });
      const left = readdirSync(directory, { recursive: true }).filter(name =>
        statSync(join(directory, String(name))).isFile(),
      );
      expect(
        left.filter(name => !image.blobs.has(`sha256:${String(name).split("/").at(-1)}` as Digest)),
      ).toEqual([]);
      expect(left.join()).not.toContain(digestHex(image.layers[1]!.digest));
    },
  );

  it("keeps a name with a digest for the content that it names", async () => {
    const image = await makeTestImage();
    const own = image.manifest.descriptor.digest;
    const into = async (name: string) => {
      await using destination = createImageDestination(parseImageName(name), backends);
      return await copyImage(image, destination);
    };
    expect((await into(`containers-storage:a.test/x:1@${own}`)).image?.names).toContain(`a.test/x@${own}`);
    const other = `sha256:${"0".repeat(64)}`;
    await expect(into(`containers-storage:a.test/y@${other}`)).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      reason: "DigestMismatch",
    });
    expect(await backends.store!.findImage(`a.test/y@${other}`)).toBeUndefined();
  });

  it("says that the destination failed when it did", async () => {
    writeFileSync(join(directory, "file"), "");
    await expect(copy(await makeTestImage(), "oci:@file")).rejects.toMatchObject({
      details: { side: "destination" },
      message: expect.stringContaining("destination oci:"),
    });
  });

  it("tells its progress, as events too", async () => {
    const image = await makeTestImage();
    const events: CopyProgress[] = [];
    await copy(image, "oci:@layout", { onProgress: (event: CopyProgress) => events.push(event) });
    const total = [...image.blobs.values()].reduce((sum, blob) => sum + blob.byteLength, 0);
    expect(events.at(-1)).toMatchObject({ totalBytes: total, copiedBytes: total });
    expect(events.filter(event => event.kind === "done")).toHaveLength(3);
    const again = copyImageEvents(image, createImageDestination(at("oci:@layout"), backends));
    const kinds: string[] = [];
    let next = await again.next();
    for (; !next.done; next = await again.next()) kinds.push(next.value.kind);
    expect(kinds).toEqual(["skipped", "skipped", "skipped"]);
    expect(next.value.digest).toBe(image.manifest.descriptor.digest);
  });

  it("is cancelled by its signal, and by leaving its events", async () => {
    const image = await makeTestImage();
    const controller = new AbortController();
    const slow: ImageSource = {
      ...image,
      async *openBlob(descriptor, options) {
        controller.abort(new Error("enough"));
        options?.signal?.throwIfAborted();
        yield* image.openBlob(descriptor, options);
      },
    };
    await expect(copy(slow, "oci:@layout", { signal: controller.signal })).rejects.toThrow("enough");
    expect(readdirSync(directory)).not.toContain("layout/index.json");
    for await (const _event of copyImageEvents(image, createImageDestination(at("oci:@other"), backends)))
      break;
    expect(() => statSync(join(directory, "other/index.json"))).toThrow("ENOENT");
  });
});
