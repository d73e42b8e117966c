import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { bytesSource, createRegistryClient, fixedCredential, type RegistryClient } from "@ocid/registry";
import { type Descriptor, digestBytes, mediaTypes, type Reference } from "@ocid/spec";
import { startDockerRegistry, tempRoot } from "@ocid/testkit";
import { afterAll, describe, expect, test } from "vitest";

const root = tempRoot("registry-");
afterAll(() => root.remove());

const blob = Buffer.alloc(300_000, "layer");
const descriptor: Descriptor = {
  mediaType: mediaTypes.ociLayer,
  digest: digestBytes(blob),
  size: blob.byteLength,
};
const open = async function* () {
  yield blob;
};

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function pushAndFetch(client: RegistryClient, reference: Reference): Promise<void> {
  expect(await client.hasBlob(reference, descriptor.digest)).toBe(false);
  expect(await client.pushBlob(reference, descriptor, open)).toEqual({ sent: true });
  expect(await client.hasBlob(reference, descriptor.digest)).toBe(true);
  const config = Buffer.from("{}");
  const configDescriptor = { mediaType: mediaTypes.ociConfig, digest: digestBytes(config), size: 2 };
  await client.pushBlob(reference, configDescriptor, async function* () {
    yield config;
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: configDescriptor,
      layers: [descriptor],
    }),
  );
  const pushed = await client.pushManifest(reference, manifest, mediaTypes.ociManifest);
  expect(await client.resolve(reference)).toEqual(pushed);
  expect(Buffer.from((await client.fetchManifest(reference)).bytes)).toEqual(manifest);
  expect(await collect(client.openBlob(reference, descriptor))).toEqual(blob);
  expect(await collect(client.openBlob(reference, descriptor, { offset: 299_990 }))).toEqual(
    blob.subarray(299_990),
  );
  const chunked = Buffer.alloc(250_001, "chunks");
  const inChunks = { ...descriptor, digest: digestBytes(chunked), size: chunked.byteLength };
  await client.pushBlob(reference, inChunks, bytesSource(chunked), { chunkBytes: 100_000 });
  expect(await collect(client.openBlob(reference, inChunks))).toEqual(chunked);
  const tags: string[] = [];
  for await (const tag of client.listTags(reference)) tags.push(tag);
  expect(tags).toEqual(["v1"]);
  const other = { registry: reference.registry, repository: "test/other", tag: "v1" };
  expect(await client.pushBlob(other, descriptor, open, { mountFrom: reference.repository })).toEqual({
    sent: false,
  });
  // Another tag of the same manifest outlives this one, and keeps the manifest from going by accident.
  const { registry, repository } = reference;
  await client.pushManifest({ ...reference, tag: "v2" }, manifest, mediaTypes.ociManifest);
  await client.deleteManifest(reference);
  await expect(client.resolve(reference)).rejects.toMatchObject({ code: "NOT_FOUND" });
  expect(await client.resolve({ registry, repository, tag: "v2" })).toEqual(pushed);
  const byDigest = { registry, repository, digest: pushed.digest };
  await expect(client.deleteManifest(byDigest)).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    reason: "TagsWouldGo",
    details: { tags: "v2" },
  });
  await client.deleteManifest(byDigest, { withTags: true });
  await expect(client.resolve({ registry, repository, tag: "v2" })).rejects.toMatchObject({
    code: "NOT_FOUND",
  });
}

describe("Debian's docker-registry", () => {
  test("with a user and a password", async () => {
    const directory = join(root.path, "basic");
    mkdirSync(directory);
    await using registry = await startDockerRegistry({
      directory,
      basicAuth: { username: "me", password: "s3cret-pass" },
    });
    const reference = { registry: registry.host, repository: "test/app", tag: "v1" };
    await using client = createRegistryClient({
      tlsVerify: false,
      credentials: fixedCredential({ kind: "basic", username: "me", password: "s3cret-pass" }),
    });
    await pushAndFetch(client, reference);
    await using stranger = createRegistryClient({
      tlsVerify: false,
      credentials: fixedCredential({ kind: "basic", username: "me", password: "wrong-one" }),
    });
    const refusal = await stranger.resolve(reference).catch(error => error);
    expect(refusal).toMatchObject({ code: "UNAUTHENTICATED" });
    expect(`${refusal.message} ${refusal.stack}`).not.toContain("wrong-one");
  });

  test("over TLS of an authority of one's own, with a user and a password", async () => {
    const directory = join(root.path, "tls");
    mkdirSync(directory);
    const [key, certificate] = [join(directory, "key.pem"), join(directory, "cert.pem")];
    execFileSync(
      "openssl",
      [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        key,
        "-out",
        certificate,
      ],
      { stdio: "ignore" },
    );
    const user = { username: "me", password: "s3cret-pass" };
    await using registry = await startDockerRegistry({
      directory,
      tls: { certificate, key },
      basicAuth: user,
    });
    const reference = { registry: registry.host, repository: "test/app", tag: "v1" };
    await using stranger = createRegistryClient({ certificateDirectories: [] });
    await expect(stranger.resolve(reference)).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("certs.d"),
    });
    const certificates = join(directory, "certs.d");
    mkdirSync(join(certificates, registry.host), { recursive: true });
    cpSync(certificate, join(certificates, registry.host, "ca.crt"));
    await using anonymous = createRegistryClient({ certificateDirectories: [certificates] });
    await expect(anonymous.resolve(reference)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    await using client = createRegistryClient({
      certificateDirectories: [certificates],
      credentials: fixedCredential({ kind: "basic", ...user }, registry.host),
    });
    await pushAndFetch(client, reference);
  });

  test("plain HTTP is not spoken unless it is allowed", async () => {
    const directory = join(root.path, "plain");
    mkdirSync(directory);
    await using registry = await startDockerRegistry({ directory });
    await using client = createRegistryClient();
    await expect(client.ping(registry.host)).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("insecure"),
    });
  });
});
