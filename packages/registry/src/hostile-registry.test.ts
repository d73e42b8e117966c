import { type Digest, digestBytes, mediaTypes, type Reference } from "@ocid/spec";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fixedCredential } from "./credentials.ts";
import { createRegistryClient, type RegistryClient } from "./registry-client.ts";
import { type Fault, startTestRegistry, type TestRegistry } from "./testing/index.ts";

// What a registry may try, by name. Each is refused with a clear error, in bounded memory and time.

const repository = "a/b";
const secret = "pass-word";
const blob = Buffer.alloc(300_000, "layer");
const descriptor = { mediaType: mediaTypes.ociLayer, digest: digestBytes(blob), size: blob.byteLength };
const empty = { mediaType: mediaTypes.ociConfig, digest: digestBytes("{}"), size: 2 };
const image = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config: empty, layers: [] };

let registry: TestRegistry;
let client: RegistryClient;
let reference: Reference;

beforeEach(async () => {
  registry = await startTestRegistry();
  client = createRegistryClient({
    tlsVerify: false,
    credentials: fixedCredential({ kind: "basic", username: "me", password: secret }),
    timeouts: { idleMs: 500, slowMs: 300 },
  });
  reference = { registry: registry.host, repository, tag: "v1" };
  registry.addBlob(repository, blob);
});
afterEach(async () => {
  await client[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
});

async function readBlob(): Promise<number> {
  let size = 0;
  for await (const chunk of client.openBlob(reference, descriptor)) size += chunk.byteLength;
  return size;
}

function serveManifest(document: unknown, mediaType: string = mediaTypes.ociManifest): void {
  const text = typeof document === "string" ? document : JSON.stringify(document);
  registry.addManifest(repository, Buffer.from(text), mediaType, "v1");
}

describe("a blob", () => {
  test.each<[string, Fault, object]>([
    ["of wrong content", { kind: "wrongContent" }, { code: "DATA_LOSS", reason: "DigestMismatch" }],
    [
      "announced too short",
      { kind: "wrongLength", length: 1000 },
      { code: "DATA_LOSS", reason: "SizeMismatch" },
    ],
    [
      "announced too long",
      { kind: "wrongLength", length: 300_001 },
      { code: "DATA_LOSS", reason: "SizeMismatch" },
    ],
    ["without an end", { kind: "endless" }, { code: "DATA_LOSS", reason: "SizeMismatch" }],
    [
      "redirected in circles",
      { kind: "redirect", location: `/v2/${repository}/blobs/${descriptor.digest}` },
      { reason: "RedirectLoop" },
    ],
    [
      "redirected to a file",
      { kind: "redirect", location: "file:///etc/passwd" },
      { reason: "RedirectRefused" },
    ],
    [
      "redirected to a link-local address",
      { kind: "redirect", location: "http://169.254.169.254/latest" },
      { reason: "RedirectRefused" },
    ],
    [
      "redirected to a link-local address in IPv6",
      { kind: "redirect", location: "http://[fe80::1]/" },
      { reason: "RedirectRefused" },
    ],
    ["redirected to nowhere", { kind: "redirect", location: "http://" }, { reason: "RedirectRefused" }],
  ])("%s is refused", async (_, fault, error) => {
    registry.fail({ path: /blobs/, fault });
    await expect(readBlob()).rejects.toMatchObject(error);
  });

  test("that comes in drops is given up", async () => {
    registry.fail({ path: /blobs/, fault: { kind: "drip", everyMs: 20 } });
    await expect(readBlob()).rejects.toMatchObject({ code: "UNAVAILABLE", reason: "TooSlow" });
  });

  test("that falls silent is given up, after other tries", async () => {
    registry.fail({ path: /blobs/, fault: { kind: "hang", afterBytes: 10 } });
    await expect(readBlob()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(registry.requests.length).toBeLessThan(10);
  });

  test("at another origin comes without our credentials reaching it", async () => {
    await using other = await startTestRegistry();
    other.addBlob(repository, blob);
    await using guarded = await startTestRegistry({
      auth: { scheme: "basic", username: "me", password: secret },
    });
    reference = { registry: guarded.host, repository, tag: "v1" };
    const location = `http://user:other@${other.host}/v2/${repository}/blobs/${descriptor.digest}`;
    // The first request is let through to be challenged.
    guarded.fail({ path: /blobs/, after: 1, fault: { kind: "redirect", location } });
    expect(await readBlob()).toBe(blob.byteLength);
    expect(guarded.requests.at(-1)?.headers.authorization).toBeDefined();
    expect(other.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });
});

describe("a manifest", () => {
  test.each<[string, Fault, object]>([
    ["without an end", { kind: "endless" }, { code: "RESOURCE_EXHAUSTED" }],
    [
      "that is a page for people",
      { kind: "respond", status: 200, body: "<html>" },
      { code: "INVALID_ARGUMENT" },
    ],
    [
      "that is another one than promised",
      {
        kind: "respond",
        status: 200,
        headers: { "docker-content-digest": digestBytes("other") },
        body: JSON.stringify(image),
      },
      { code: "DATA_LOSS", reason: "DigestMismatch" },
    ],
  ])("%s is refused", async (_, fault, error) => {
    serveManifest(image);
    registry.fail({ path: /manifests/, fault });
    await expect(client.fetchManifest(reference)).rejects.toMatchObject(error);
  });

  test("that comes in drops is given up", async () => {
    serveManifest(image);
    registry.fail({ path: /manifests/, fault: { kind: "drip", everyMs: 20 } });
    await expect(client.fetchManifest(reference)).rejects.toMatchObject({ reason: "TooSlow" });
  });

  const nested = (depth: number) => `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;
  const layer = (digest: string) => ({ ...image, layers: [{ ...descriptor, digest }] });
  test.each<[string, unknown, RegExp]>([
    ["with a key twice", '{"schemaVersion":2,"layers":[],"layers":[],"config":{}}', /key "layers" twice/],
    [
      "with a key twice, once in escapes",
      '{"schemaVersion":2,"layers":[],"l\\u0061yers":[]}',
      /key "layers" twice/,
    ],
    ["with a key in other letters", { ...image, Layers: [] }, /spelt layers/],
    ["that is an image and an index at once", { ...image, manifests: [] }, /at once/],
    ["that says it is an index and is none", { ...image, mediaType: mediaTypes.ociIndex }, /shape/],
    ["with a digest of an unknown algorithm", layer(`md5:${"a".repeat(32)}`), /not a digest/],
    ["with a digest that is a path", layer("sha256:../../../../etc/passwd"), /not a digest/],
    ["with a digest in capitals", layer(`sha256:${"A".repeat(64)}`), /not a digest/],
    ["with a negative size", { ...image, layers: [{ ...descriptor, size: -1 }] }, /size/],
    ["nested a thousand times", nested(1000), /nested deeper/],
    ["of schema 1", { schemaVersion: 1 }, /schema version 1/],
  ])("%s is refused", async (_, document, message) => {
    serveManifest(document);
    await expect(client.fetchManifest(reference)).rejects.toThrow(message);
  });

  test("delivered as an index that it is not is refused", async () => {
    serveManifest(image, mediaTypes.ociIndex);
    await expect(client.fetchManifest(reference)).rejects.toThrow(/delivered as|shape/);
  });

  test("whose digest header is a path is refused before it is used", async () => {
    registry.fail({
      method: "HEAD",
      fault: {
        kind: "respond",
        status: 200,
        headers: {
          "docker-content-digest": "sha256:../../x",
          "content-type": mediaTypes.ociManifest,
          "content-length": "10",
        },
      },
    });
    await expect(client.resolve(reference)).rejects.toThrow(/not a digest/);
  });
});

describe("a list", () => {
  const tags = (body: string, headers: Readonly<Record<string, string>> = {}) =>
    registry.fail({ path: /tags\/list/, fault: { kind: "respond", status: 200, headers, body } });
  const readTags = async () => {
    for await (const _ of client.listTags(reference));
  };

  test("of tags that are none is refused", async () => {
    tags('{"tags":["ok","../../etc"]}');
    await expect(readTags()).rejects.toThrow(/which is no tag/);
    registry.heal();
    tags(`{"tags":["${"\\u001b"}[2Jx"]}`);
    await expect(readTags()).rejects.toThrow(/which is no tag/);
  });

  test("whose pages go in circles is refused", async () => {
    tags('{"tags":["a"]}', { link: `</v2/${repository}/tags/list?n=1000>; rel="next"` });
    await expect(readTags()).rejects.toMatchObject({ reason: "EndlessList" });
  });

  test("whose next page is at another origin ends", async () => {
    tags('{"tags":["a"]}', { link: '<http://169.254.169.254/>; rel="next"' });
    await readTags();
    expect(registry.requests.filter(({ url }) => url.includes("tags"))).toHaveLength(1);
  });

  test("of referrers with digests that are none is refused", async () => {
    const body = JSON.stringify({ manifests: [{ ...descriptor, digest: "sha256:.." }] });
    registry.fail({ path: /referrers/, fault: { kind: "respond", status: 200, body } });
    const about = { ...reference, digest: descriptor.digest as Digest };
    await expect(client.referrers(about)).rejects.toThrow(/not a digest/);
  });
});

describe("a token server", () => {
  const challenge = (realm: string) =>
    registry.fail({
      path: /^\/v2\/./,
      fault: {
        kind: "respond",
        status: 401,
        headers: { "www-authenticate": `Bearer realm="${realm}",service="s"` },
      },
    });

  test.each([
    ["that is a file", "file:///etc/passwd", /no URL/],
    ["at a link-local address", "http://169.254.169.254/token", /link-local/],
  ])("%s gets no password", async (_, realm, message) => {
    challenge(realm);
    const error = await client.fetchManifest(reference).catch(caught => caught);
    expect(error).toMatchObject({ reason: "TokenServerRefused", message: expect.stringMatching(message) });
    expect(`${error.message}${error.stack}`).not.toContain(secret);
  });

  test("that answers without a token, or with a line break in it, is refused", async () => {
    challenge(`http://${registry.host}/token`);
    for (const body of ["{}", JSON.stringify({ token: "a\r\nx-evil: 1" })]) {
      registry.fail({ path: /^\/token/, times: 4, fault: { kind: "respond", status: 200, body } });
      await expect(client.fetchManifest(reference)).rejects.toThrow(/without a token/);
    }
  });
});

test("an upload that is sent to a file is refused", async () => {
  registry.fail({
    method: "POST",
    fault: { kind: "respond", status: 202, headers: { location: "file:///tmp/x" } },
  });
  const other = { mediaType: "x/y", digest: digestBytes("other"), size: 5 };
  await expect(
    client.pushBlob(reference, other, async function* () {
      yield Buffer.from("other");
    }),
  ).rejects.toThrow(/no place to upload to/);
});
