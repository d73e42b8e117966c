import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { digestHex, parseReference } from "@ocid/spec";
import { pack } from "tar-stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { copyImage } from "./copy-image.ts";
import { createDockerArchiveDestination, createDockerArchiveWriter } from "./docker-archive-destination.ts";
import { listDockerArchive, openDockerArchiveSource } from "./docker-archive-source.ts";
import { inspectImage } from "./inspect-image.ts";
import { createStorageDestination } from "./storage-destination.ts";
import { makeTestImage } from "./testing/make-image.ts";
import { createMemoryImageStore } from "./testing/memory-image-store.ts";

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "ocid-docker-archive-"));
  path = join(directory, "saved.tar");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const shared = { files: { shared: "by both" } };

describe("archives of docker's", () => {
  it("hold several images, layers that they share once", async () => {
    const images = [
      await makeTestImage({ layers: [shared] }),
      await makeTestImage({ layers: [shared, { files: { more: "of it" }, compression: "zstd" }] }),
    ];
    {
      await using writer = createDockerArchiveWriter(path);
      for (const [at, image] of images.entries())
        await copyImage(image, writer.image(parseReference(`a.test/x:${at}`)));
      await writer.commit();
    }
    expect(
      readFileSync(path)
        .toString("latin1")
        .split(`${digestHex(images[0]!.diffIds[0]!)}.tar\0`),
    ).toHaveLength(2);
    expect(await listDockerArchive(path)).toEqual([["a.test/x:0"], ["a.test/x:1"]]);
    for (const [at, image] of images.entries())
      for (const name of [at, `a.test/x:${at}`]) {
        await using source = await openDockerArchiveSource(path, name);
        expect((await inspectImage(source)).manifest.config.digest).toBe(image.configDigest);
        const reference = parseReference("a.test/x");
        const stored = await copyImage(source, createStorageDestination(createMemoryImageStore(), reference));
        expect(stored.image?.id).toBe(digestHex(image.configDigest));
      }
    await expect(openDockerArchiveSource(path)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("a.test/x:0, a.test/x:1"),
    });
    await expect(openDockerArchiveSource(path, "a.test/x:2")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("are read when they are compressed, have links or compressed layers", async () => {
    const image = await makeTestImage({ layers: [shared, shared, { files: { a: "b" } }] });
    const tar = pack();
    const add = (name: string, bytes: Uint8Array | string) =>
      tar.entry({ name }, Buffer.from(bytes as Uint8Array));
    const blob = (at: number) => image.blobs.get(image.layers[at]!.digest)!;
    add("config.json", image.blobs.get(image.configDigest)!);
    add("first/layer.tar", blob(0));
    tar.entry({ name: "second/layer.tar", type: "symlink", linkname: "../first/layer.tar" });
    add("third/layer.tar", blob(2));
    const Layers = ["first/layer.tar", "second/layer.tar", "third/layer.tar"];
    add("manifest.json", JSON.stringify([{ Config: "config.json", RepoTags: null, Layers }]));
    tar.finalize();
    writeFileSync(path, gzipSync(await buffer(tar as AsyncIterable<Buffer>)));
    await using source = await openDockerArchiveSource(path);
    const store = createMemoryImageStore();
    const { image: stored } = await copyImage(
      source,
      createStorageDestination(store, parseReference("a.test/x")),
    );
    expect(stored?.id).toBe(digestHex(image.configDigest));
  });

  it("are not overwritten, and are there only when they are whole", async () => {
    const image = await makeTestImage();
    {
      await using writer = createDockerArchiveWriter(path);
      await copyImage(image, writer.image());
    }
    expect(() => readFileSync(path)).toThrow("ENOENT");
    writeFileSync(path, "mine");
    await using destination = createDockerArchiveDestination(path);
    await expect(copyImage(image, destination)).rejects.toMatchObject({
      code: "ALREADY_EXISTS",
      message: expect.stringContaining(path),
    });
    expect(readFileSync(path, "utf8")).toBe("mine");
  });

  it.each([
    ["{}", "INVALID_ARGUMENT"],
    ["not json", "INVALID_ARGUMENT"],
    ["[1]", "INVALID_ARGUMENT"],
    [JSON.stringify([{ Config: "config.json", Layers: [] }]), "NOT_FOUND"],
    [JSON.stringify([{ Config: "manifest.json", Layers: ["x"] }]), "INVALID_ARGUMENT"],
  ])("are refused with the manifest %s", async (manifest, code) => {
    const tar = pack();
    tar.entry({ name: "manifest.json" }, manifest);
    tar.finalize();
    writeFileSync(path, await buffer(tar as AsyncIterable<Buffer>));
    await expect(openDockerArchiveSource(path)).rejects.toMatchObject({ code });
  });
});
