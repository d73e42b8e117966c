import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { createRegistryClient, type RegistryClient } from "@ocid/registry";
import { startTestRegistry, type TestRegistry } from "@ocid/registry/testing";
import { type Descriptor, mediaTypes } from "@ocid/spec";
import { tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  copyImage,
  createLayoutDestination,
  createRegistrySource,
  createStorageDestination,
  inspectImage,
} from "../src/index.ts";
import { createMemoryImageStore } from "../src/testing/index.ts";

// Images that a registry should not have: refused whole, with nothing of them left at the destination.

const repository = "a/b";
const platform = { os: "linux", architecture: "amd64" };
const root = tempRoot("ocid-hostile-");
let registry: TestRegistry;
let client: RegistryClient;
let count = 0;

beforeAll(async () => {
  registry = await startTestRegistry();
  client = createRegistryClient({ tlsVerify: false });
});
afterAll(async () => {
  await client[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  root.remove();
});

function put(document: object, mediaType: string, tag?: string): Descriptor {
  return registry.addManifest(repository, Buffer.from(JSON.stringify(document)), mediaType, tag);
}

function putImage(layers: readonly object[], diffIds: readonly string[], tag?: string): Descriptor {
  const text = JSON.stringify({ ...platform, rootfs: { type: "layers", diff_ids: diffIds } });
  const config = { ...registry.addBlob(repository, Buffer.from(text)), mediaType: mediaTypes.ociConfig };
  return put(
    { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers },
    mediaTypes.ociManifest,
    tag,
  );
}

const sourceOf = (tag: string) => createRegistrySource(client, { registry: registry.host, repository, tag });

async function copyToFiles(tag: string, options: { all?: boolean } = {}): Promise<void> {
  const directory = join(root.path, `layout-${++count}`);
  try {
    await copyImage(sourceOf(tag), createLayoutDestination(directory, "v1"), { platform, ...options });
  } finally {
    expect(existsSync(join(directory, "index.json")) && readdirSync(directory)).toBe(false);
  }
}

it("follows a thousand nested indexes no further than four", async () => {
  let top = { ...putImage([], []), platform };
  for (let depth = 0; depth < 1000; depth++)
    top = { ...put({ schemaVersion: 2, manifests: [top] }, mediaTypes.ociIndex, "nested"), platform };
  registry.requests.length = 0;
  await expect(inspectImage(sourceOf("nested"), { platform })).rejects.toThrow(/indexes within indexes/);
  await expect(copyToFiles("nested")).rejects.toThrow(/indexes within indexes/);
  await expect(copyToFiles("nested", { all: true })).rejects.toThrow(/indexes within indexes/);
  expect(registry.requests.length).toBeLessThan(30);
});

it("fetches nothing from URLs in a manifest", async () => {
  const layer = {
    ...registry.addBlob(repository, Buffer.from("layer")),
    mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    urls: [`http://${registry.host}/elsewhere`],
  };
  putImage([layer], [layer.digest], "foreign");
  await expect(copyToFiles("foreign")).rejects.toMatchObject({ reason: "ForeignLayer" });
  const store = createStorageDestination(createMemoryImageStore(), {
    registry: "r.test",
    repository,
    tag: "v1",
  });
  await expect(copyImage(sourceOf("foreign"), store, { platform })).rejects.toMatchObject({
    reason: "ForeignLayer",
  });
  expect(registry.requests.filter(({ url }) => url === "/elsewhere")).toEqual([]);
});

it("takes no index for an image that an entry calls an image", async () => {
  const inner = put({ schemaVersion: 2, manifests: [] }, mediaTypes.ociIndex);
  const entry = { ...inner, mediaType: mediaTypes.ociManifest, platform };
  put({ schemaVersion: 2, manifests: [entry] }, mediaTypes.ociIndex, "confused");
  await expect(copyToFiles("confused")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});

it("refuses an entry of another size than its manifest", async () => {
  const inner = { ...putImage([], []), platform };
  put({ schemaVersion: 2, manifests: [{ ...inner, size: inner.size + 1 }] }, mediaTypes.ociIndex, "sized");
  await expect(copyToFiles("sized")).rejects.toMatchObject({ code: "DATA_LOSS" });
});
