import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { createRegistryClient, type RegistryClient } from "@ocid/registry";
import { type FaultRule, makeLargeLayer, startTestRegistry, type TestRegistry } from "@ocid/registry/testing";
import { digestBytes, type HttpBlobSource } from "@ocid/spec";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { writeBlobFile } from "./blob-file.ts";
import type { ImageSource } from "./image-source.ts";
import { readBlob } from "./read-blob.ts";
import { receiveBlob } from "./receive-blob.ts";
import { createRegistrySource } from "./registry-transport.ts";

// Large enough to come in ranges over several connections.
const layer = makeLargeLayer(40_000_000);
let directory: string;
let registry: TestRegistry;
let client: RegistryClient;
let opened: number[];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "receive-blob-"));
  registry = await startTestRegistry();
  client = createRegistryClient({ tlsVerify: false });
  opened = [];
});

afterEach(async () => {
  vi.restoreAllMocks();
  await client[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** Writes the layer into a file by way of `receiveBlob`; `opened` is where the stream had to go on. */
async function writeLayer(path: string, fastMs: number): Promise<void> {
  const reference = { registry: registry.host, repository: "a/b", tag: "1" };
  const blob = { ...registry.addBlob("a/b", layer), mediaType: "application/vnd.oci.image.layer.v1.tar" };
  const source: Pick<ImageSource, "openBlob" | "receiveBlob"> = {
    openBlob(descriptor, options) {
      opened.push(options?.offset ?? 0);
      return createRegistrySource(client, reference).openBlob(descriptor, options);
    },
    async *receiveBlob(descriptor, options) {
      const { size } = descriptor;
      const http = (await client.blobSource(reference, descriptor)) as HttpBlobSource;
      yield* receiveBlob(http, { ...options, size, fastMs });
    },
  };
  await writeBlobFile(path, blob, offset => readBlob(source, blob, { offset }));
}

const ranges = () => registry.requests.filter(({ headers }) => headers.range !== undefined);

describe("a source in a registry", () => {
  test("gives a blob without a stream", async () => {
    const blob = { ...registry.addBlob("a/b", layer), mediaType: "application/vnd.oci.image.layer.v1.tar" };
    const source = createRegistrySource(client, { registry: registry.host, repository: "a/b", tag: "1" });
    const rest: Buffer[] = [];
    for await (const piece of source.receiveBlob!(blob, { offset: 39_000_000 }))
      rest.push(Buffer.from(piece));
    const expected = registry.readBlob("a/b", layer.digest)!.subarray(39_000_000);
    expect(Buffer.concat(rest).equals(expected)).toBe(true);
  });

  test("is let go of when nobody wants more of its blob", async () => {
    const blob = { ...registry.addBlob("a/b", layer), mediaType: "application/vnd.oci.image.layer.v1.tar" };
    const source = createRegistrySource(client, { registry: registry.host, repository: "a/b", tag: "1" });
    for await (const _ of source.receiveBlob!(blob, { offset: 0 })) break;
  });
});

describe("receiving a blob of a registry into a file", () => {
  // Connections are never fast, or always.
  test.each([
    [5, 0],
    [2, 60_000],
  ])("takes %i ranges, and no stream", async (count, fastMs) => {
    const path = join(directory, "blob");
    await writeLayer(path, fastMs);
    expect(digestBytes(readFileSync(path))).toBe(layer.digest);
    expect(opened).toEqual([]);
    expect(ranges()).toHaveLength(count);
  });

  test("takes no more ranges where the source is not what is waited for", async () => {
    vi.spyOn(performance, "eventLoopUtilization").mockReturnValue({ active: 1, idle: 0, utilization: 1 });
    await writeLayer(join(directory, "blob"), 1);
    expect(ranges()).toHaveLength(2);
  });

  const faults: readonly (readonly [string, FaultRule])[] = [
    ["that ignores ranges", { path: /blobs/, fault: { kind: "ignoreRange" } }],
    ["that refuses ranges", { path: /blobs/, fault: { kind: "refuseRange" } }],
    ["that lies about ranges", { path: /blobs/, after: 1, times: 4, fault: { kind: "lieAboutRange" } }],
    ["that breaks off", { path: /blobs/, after: 2, times: 3, fault: { kind: "cut", afterBytes: 300_000 } }],
    ["that is busy for once", { path: /blobs/, times: 1, fault: { kind: "status", status: 503 } }],
  ];
  const speeds = [
    ["slow", 0],
    ["fast", 60_000],
  ] as const;
  const cases = speeds.flatMap(([speed, fastMs]) =>
    faults.map(([what, rule]) => [speed, what, rule, fastMs] as const),
  );
  test.each(cases)("copes with a %s registry %s", async (_, _what, rule, fastMs) => {
    registry.fail(rule);
    const path = join(directory, "blob");
    await writeLayer(path, fastMs).catch(error => {
      // Wrong bytes under a right header show in the digest only.
      if (rule.fault.kind !== "lieAboutRange") throw error;
      expect(error).toMatchObject({ reason: "DigestMismatch" });
      registry.heal();
      return writeLayer(path, fastMs);
    });
    expect(digestBytes(readFileSync(path))).toBe(layer.digest);
  });

  test("goes on as a stream behind what has come", async () => {
    registry.fail({ path: /blobs/, after: 1, times: 1, fault: { kind: "cut", afterBytes: 3_000_000 } });
    const path = join(directory, "blob");
    await writeLayer(path, 60_000);
    expect(digestBytes(readFileSync(path))).toBe(layer.digest);
    expect(opened).toEqual([8 * 1024 * 1024 + 3_000_000]);
  });

  test.each(speeds)("says what is wrong with content of a %s registry", async (_, fastMs) => {
    registry.fail({ path: /blobs/, fault: { kind: "wrongContent" } });
    await expect(writeLayer(join(directory, "blob"), fastMs)).rejects.toMatchObject({
      code: "DATA_LOSS",
      reason: "DigestMismatch",
    });
  });
});
