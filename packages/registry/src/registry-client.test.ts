import { randomBytes } from "node:crypto";
import { type Descriptor, digestBytes, mediaTypes, type Reference } from "@ocid/spec";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fetchArtifact, pushArtifact } from "./artifacts.ts";
import { fixedCredential } from "./credentials.ts";
import { bytesSource } from "./push-blob.ts";
import { parseRegistriesConf } from "./registries-conf.ts";
import { createRegistryClient, type RegistryClient } from "./registry-client.ts";
import { startTestRegistry, type TestRegistry, type TestRegistryOptions } from "./testing/index.ts";

let stack: AsyncDisposableStack;
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

const repository = "team/app";
const large = randomBytes(40 * 1024 * 1024 + 123);

async function setUp(
  options: TestRegistryOptions = {},
  clientOptions: Parameters<typeof createRegistryClient>[0] = {},
): Promise<{ registry: TestRegistry; client: RegistryClient; reference: Reference }> {
  const registry = stack.use(await startTestRegistry(options));
  const client = stack.use(createRegistryClient({ tlsVerify: false, ...clientOptions }));
  return { registry, client, reference: { registry: registry.host, repository, tag: "v1" } };
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

async function listed(tags: AsyncIterable<string>): Promise<readonly string[]> {
  const found: string[] = [];
  for await (const tag of tags) found.push(tag);
  return found;
}

function addImage(registry: TestRegistry, tag: string, label = tag): Descriptor {
  const config = registry.addBlob(repository, Buffer.from(JSON.stringify({ label })));
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [] };
  return registry.addManifest(repository, Buffer.from(JSON.stringify(manifest)), mediaTypes.ociManifest, tag);
}

const blobGets = (registry: TestRegistry) =>
  registry.requests.filter(({ method, url }) => method === "GET" && url.includes("/blobs/sha256"));

describe("a large blob", () => {
  test("comes in ranges over several connections", async () => {
    const { registry, client, reference } = await setUp();
    const blob = registry.addBlob(repository, large);
    expect((await collect(client.openBlob(reference, blob))).equals(large)).toBe(true);
    expect(blobGets(registry).map(({ headers }) => headers.range)).toEqual([
      "bytes=0-8388607",
      "bytes=8388608-16777215",
      "bytes=16777216-25165823",
      "bytes=25165824-33554431",
      "bytes=33554432-41943039",
      `bytes=41943040-${large.byteLength - 1}`,
    ]);
    expect(blobGets(registry).reduce((sum, { sent }) => sum + sent, 0)).toBe(large.byteLength);
  });

  test.each(["ignoreRange", "refuseRange"] as const)("comes whole where the registry does %s", async kind => {
    const { registry, client, reference } = await setUp();
    const blob = registry.addBlob(repository, large);
    registry.fail({ path: /\/blobs\/sha256/, fault: { kind } });
    expect((await collect(client.openBlob(reference, blob))).equals(large)).toBe(true);
  });

  test("in ranges of other bytes than were asked for is refused", async () => {
    const { registry, client, reference } = await setUp();
    const blob = registry.addBlob(repository, large);
    registry.fail({ path: /\/blobs\/sha256/, fault: { kind: "lieAboutRange" } });
    await expect(collect(client.openBlob(reference, blob))).rejects.toMatchObject({
      code: "DATA_LOSS",
      reason: "DigestMismatch",
    });
  });

  test("whose ranges break is gone on with where they did", async () => {
    const { registry, client, reference } = await setUp();
    const blob = registry.addBlob(repository, large);
    registry.fail({
      path: /\/blobs\/sha256/,
      after: 1,
      times: 3,
      fault: { kind: "cut", afterBytes: 3_000_000 },
    });
    expect((await collect(client.openBlob(reference, blob))).equals(large)).toBe(true);
    expect(blobGets(registry).reduce((sum, { sent }) => sum + sent, 0)).toBe(large.byteLength);
  });
});

describe("a blob", () => {
  const small = randomBytes(1_000_000);

  test("whose connection breaks is gone on with, also from an offset", async () => {
    const { registry, client, reference } = await setUp();
    const blob = registry.addBlob(repository, small);
    registry.fail({ path: /\/blobs\//, times: 2, fault: { kind: "cut", afterBytes: 300_000 } });
    expect((await collect(client.openBlob(reference, blob))).equals(small)).toBe(true);
    expect(blobGets(registry).map(({ headers }) => headers.range)).toEqual([
      undefined,
      "bytes=300000-",
      "bytes=600000-",
    ]);
    const rest = await collect(client.openBlob(reference, blob, { offset: 999_000 }));
    expect(rest.equals(small.subarray(999_000))).toBe(true);
  });

  test("comes from the registry when the mirror that had the manifest has it not", async () => {
    const { registry, reference } = await setUp();
    const mirror = stack.use(await startTestRegistry());
    const image = addImage(registry, "v1");
    addImage(mirror, "v1");
    const blob = registry.addBlob(repository, small);
    const client = stack.use(
      createRegistryClient({
        tlsVerify: false,
        registriesConf: parseRegistriesConf(
          { registry: [{ location: registry.host, mirror: [{ location: mirror.host }] }] },
          "test",
        ),
      }),
    );
    expect((await client.resolve(reference)).digest).toBe(image.digest);
    expect(registry.requests.filter(({ url }) => url.includes("manifests"))).toEqual([]);
    expect((await collect(client.openBlob(reference, blob))).equals(small)).toBe(true);
  });
});

describe("busy registries", () => {
  test("are asked again when they say so", async () => {
    const { registry, client, reference } = await setUp();
    const image = addImage(registry, "v1");
    registry.fail({ path: /manifests/, times: 1, fault: { kind: "status", status: 429, retryAfter: "0" } });
    registry.fail({ path: /manifests/, times: 1, fault: { kind: "status", status: 503, retryAfter: "0" } });
    expect(await client.resolve(reference)).toEqual(image);
    expect(registry.requests.filter(({ url }) => url.includes("manifests"))).toHaveLength(3);
  });

  test("are left alone when they ask for hours", async () => {
    const { registry, client, reference } = await setUp();
    addImage(registry, "v1");
    registry.fail({ path: /manifests/, fault: { kind: "status", status: 429, retryAfter: "7200" } });
    await expect(client.resolve(reference)).rejects.toMatchObject({
      code: "RESOURCE_EXHAUSTED",
      details: { retryAfterMs: 7_200_000 },
    });
    expect(registry.requests.filter(({ url }) => url.includes("manifests"))).toHaveLength(1);
  });
});

describe("tokens", () => {
  const auth = { scheme: "token", username: "me", password: "s3cret-pass" } as const;
  const credentials = fixedCredential({ kind: "basic", username: "me", password: "s3cret-pass" });

  test("that expire in the middle are fetched again", async () => {
    const { registry, client, reference } = await setUp({ auth }, { credentials });
    const image = addImage(registry, "v1");
    const blob = registry.addBlob(repository, Buffer.from("blob"));
    expect(await client.resolve(reference)).toEqual(image);
    registry.fail({ path: /blobs/, times: 1, fault: { kind: "expireTokens" } });
    expect((await collect(client.openBlob(reference, blob))).toString()).toBe("blob");
    expect(registry.requests.filter(({ url }) => url.startsWith("/token"))).toHaveLength(2);
  });

  test("of OAuth2 are had for an identity token", async () => {
    const { registry, client, reference } = await setUp(
      { auth, identityToken: "refresh-me" },
      { credentials: fixedCredential({ kind: "identityToken", token: "refresh-me" }) },
    );
    const image = addImage(registry, "v1");
    expect(await client.resolve(reference)).toEqual(image);
    expect(registry.requests.find(({ url }) => url.startsWith("/token"))?.method).toBe("POST");
  });

  test("are refused without giving the password away", async () => {
    const { client, reference } = await setUp(
      { auth },
      { credentials: fixedCredential({ kind: "basic", username: "me", password: "wrong-pass" }) },
    );
    const error = await client.resolve(reference).catch(caught => caught);
    expect(error).toMatchObject({ code: "UNAUTHENTICATED" });
    expect(`${error.message}${error.stack}${JSON.stringify(error)}`).not.toContain("wrong-pass");
  });
});

describe("a push", () => {
  const bytes = randomBytes(2_000_000);
  const blob: Descriptor = { mediaType: "x/y", digest: digestBytes(bytes), size: bytes.byteLength };

  test.each([undefined, 600_000])(
    "that breaks goes on where the registry stopped (chunks of %s)",
    async chunkBytes => {
      const { registry, client, reference } = await setUp();
      registry.fail({
        method: chunkBytes === undefined ? "PUT" : "PATCH",
        path: /uploads/,
        after: chunkBytes === undefined ? 0 : 1,
        times: 1,
        fault: { kind: "cut", afterBytes: 900_000 },
      });
      const opened: number[] = [];
      const open = (offset: number) => {
        opened.push(offset);
        return bytesSource(bytes)(offset);
      };
      expect(await client.pushBlob(reference, blob, open, { chunkBytes })).toEqual({ sent: true });
      expect(Buffer.from(registry.readBlob(repository, blob.digest)!).equals(bytes)).toBe(true);
      expect(opened).toContain(900_000);
    },
  );

  test.each([undefined, 600_000])("reads memory that is used again (chunks of %s)", async chunkBytes => {
    const { registry, client, reference } = await setUp();
    const open = async function* (offset: number) {
      const memory = Buffer.alloc(70_000);
      for (let at = offset; at < bytes.byteLength; at += memory.byteLength) {
        yield memory.subarray(0, bytes.copy(memory, 0, at));
        memory.fill(0);
      }
    };
    await client.pushBlob(reference, blob, open, { chunkBytes });
    expect(Buffer.from(registry.readBlob(repository, blob.digest)!).equals(bytes)).toBe(true);
  });

  test("that is refused before its end lets go of what it reads", async () => {
    const { registry, client, reference } = await setUp();
    registry.fail({ method: "PUT", path: /uploads/, fault: { kind: "respond", status: 400 } });
    const left = Promise.withResolvers<void>();
    const open = async function* () {
      try {
        for (;;) {
          yield Buffer.alloc(1000);
          await new Promise(setImmediate);
        }
      } finally {
        left.resolve();
      }
    };
    const size = 1_000_000_000_000;
    await expect(client.pushBlob(reference, { ...blob, size }, open)).rejects.toMatchObject({
      details: { status: 400 },
    });
    await left.promise;
  });

  test("of other bytes than promised is broken off", async () => {
    const { registry, client, reference } = await setUp();
    for (const chunkBytes of [undefined, 600_000]) {
      const wrong = bytesSource(Buffer.alloc(bytes.byteLength));
      await expect(client.pushBlob(reference, blob, wrong, { chunkBytes })).rejects.toMatchObject({
        code: "DATA_LOSS",
      });
    }
    expect(registry.readBlob(repository, blob.digest)).toBeUndefined();
  });

  test("goes on in another process by what is written down", async () => {
    const { registry, client, reference } = await setUp();
    const notes = new Map<string, string>();
    const journal = {
      find: async (key: string) => notes.get(key),
      save: async (key: string, location: string) => void notes.set(key, location),
      remove: async (key: string) => void notes.delete(key),
    };
    const abort = new AbortController();
    const dying = async function* (offset: number) {
      yield bytes.subarray(offset, 1_200_000);
      abort.abort();
      yield bytes.subarray(1_200_000);
    };
    const first = { chunkBytes: 600_000, journal };
    await expect(
      client.pushBlob(reference, blob, dying, { ...first, signal: abort.signal }),
    ).rejects.toThrow();
    expect(notes.size).toBe(1);
    const opened: number[] = [];
    const open = (offset: number) => {
      opened.push(offset);
      return bytesSource(bytes)(offset);
    };
    await client.pushBlob(reference, blob, open, first);
    expect(Math.min(...opened)).toBeGreaterThan(0);
    expect(Buffer.from(registry.readBlob(repository, blob.digest)!).equals(bytes)).toBe(true);
    expect(notes.size).toBe(0);
  });

  test("mounts what another repository has, with the right to read there", async () => {
    const auth = { scheme: "token", username: "me", password: "pass-word" } as const;
    const { registry, client, reference } = await setUp(
      { auth },
      { credentials: fixedCredential({ kind: "basic", username: "me", password: "pass-word" }) },
    );
    registry.addBlob("base/os", bytes);
    expect(await client.pushBlob(reference, blob, bytesSource(bytes), { mountFrom: "base/os" })).toEqual({
      sent: false,
    });
    const token = registry.requests.findLast(({ url }) => url.startsWith("/token"))!;
    expect(new URL(token.url, "http://x").searchParams.getAll("scope")).toEqual([
      "repository:team/app:pull,push",
      "repository:base/os:pull",
    ]);
  });
});

describe("tags", () => {
  test("come page by page", async () => {
    const { registry, client, reference } = await setUp({ pageSize: 2 });
    for (const tag of ["a", "b", "c", "d", "e"]) addImage(registry, tag);
    expect(await listed(client.listTags(reference))).toEqual(["a", "b", "c", "d", "e"]);
    expect(await listed(client.listTags(reference, { after: "c" }))).toEqual(["d", "e"]);
  });

  test.each([true, false])("are deleted alone (registry can do so: %s)", async deletesTags => {
    const { registry, client, reference } = await setUp({ deletesTags });
    const image = addImage(registry, "v1", "same");
    addImage(registry, "v2", "same");
    await client.deleteManifest(reference);
    expect(registry.tags(repository)).toEqual(["v2"]);
    expect((await client.resolve({ ...reference, tag: "v2" })).digest).toBe(image.digest);
  });

  test("are named before they would go with their digest", async () => {
    const { registry, client, reference } = await setUp();
    const { digest } = addImage(registry, "v1", "same");
    addImage(registry, "v2", "same");
    addImage(registry, "v3", "other");
    const byDigest = { registry: reference.registry, repository, digest };
    await expect(client.deleteManifest(byDigest)).rejects.toThrow(/v1, v2;/);
    await client.deleteManifest(byDigest, { withTags: true });
    expect(registry.tags(repository)).toEqual(["v3"]);
  });
});

describe.each([true, false])("artifacts (registry lists referrers: %s)", referrers => {
  test("are pushed, found, read and forgotten", async () => {
    const { registry, client, reference } = await setUp({ referrers, pageSize: 1 });
    const subject = addImage(registry, "v1");
    const bytes = Buffer.from("sbom");
    const descriptor = { mediaType: "text/spdx", digest: digestBytes(bytes), size: 4 };
    const blobs = [{ descriptor, open: bytesSource(bytes) }];
    const untagged = { registry: reference.registry, repository };
    const pushed: Descriptor[] = [];
    for (const artifactType of ["application/vnd.test.a", "application/vnd.test.b"])
      pushed.push(await pushArtifact(client, untagged, { artifactType, blobs, subject }));
    const about = { ...untagged, digest: subject.digest };
    const found = await client.referrers(about);
    expect(found.map(({ digest }) => digest).sort()).toEqual(pushed.map(({ digest }) => digest).sort());
    expect(
      (await client.referrers(about, { artifactType: "application/vnd.test.b" })).map(d => d.digest),
    ).toEqual([pushed[1]!.digest]);
    const artifact = await fetchArtifact(client, { ...untagged, digest: pushed[0]!.digest });
    expect(artifact).toMatchObject({ artifactType: "application/vnd.test.a", blobs: [descriptor] });
    expect((await collect(client.openBlob(untagged, artifact.blobs[0]!))).toString()).toBe("sbom");
    await client.deleteManifest({ ...untagged, digest: pushed[0]!.digest });
    expect((await client.referrers(about)).map(({ digest }) => digest)).toEqual([pushed[1]!.digest]);
  });
});
