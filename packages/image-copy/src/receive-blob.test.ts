import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRegistryClient, type RegistryClient } from "@ocid/registry";
import { type FaultRule, makeLargeLayer, startTestRegistry, type TestRegistry } from "@ocid/registry/testing";
import { digestBytes } from "@ocid/spec";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { writeBlobFile } from "./blob-file.ts";
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
  await client[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** Writes the layer into a file by way of `receiveBlob`; `opened` is where the stream had to go on. */
async function writeLayer(path: string): Promise<void> {
  const blob = { ...registry.addBlob("a/b", layer), mediaType: "application/vnd.oci.image.layer.v1.tar" };
  const source = createRegistrySource(client, { registry: registry.host, repository: "a/b", tag: "1" });
  const open = (offset = 0) => {
    opened.push(offset);
    return source.openBlob(blob, { offset, verify: false });
  };
  const receive = (offset: number, take: (bytes: Uint8Array) => void) =>
    source.receiveBlob!(blob, { offset, take });
  await writeBlobFile(path, blob, open, { receive });
}

describe("receiving a blob of a registry into a file", () => {
  test("takes ranges over several connections, and no stream", async () => {
    const path = join(directory, "blob");
    await writeLayer(path);
    expect(digestBytes(readFileSync(path))).toBe(layer.digest);
    expect(opened).toEqual([]);
    expect(registry.requests.filter(({ headers }) => headers.range !== undefined)).toHaveLength(5);
  });

  const faults: readonly (readonly [string, FaultRule])[] = [
    ["that ignores ranges", { path: /blobs/, fault: { kind: "ignoreRange" } }],
    ["that refuses ranges", { path: /blobs/, fault: { kind: "refuseRange" } }],
    ["that lies about ranges", { path: /blobs/, after: 1, times: 4, fault: { kind: "lieAboutRange" } }],
    ["that breaks off", { path: /blobs/, after: 2, times: 3, fault: { kind: "cut", afterBytes: 300_000 } }],
    ["that is busy for once", { path: /blobs/, times: 1, fault: { kind: "status", status: 503 } }],
  ];
  test.each(faults)("copes with a registry %s", async (_, rule) => {
    registry.fail(rule);
    const path = join(directory, "blob");
    await writeLayer(path).catch(error => {
      // Wrong bytes under a right header show in the digest only.
      if (rule.fault.kind !== "lieAboutRange") throw error;
      expect(error).toMatchObject({ reason: "DigestMismatch" });
      registry.heal();
      return writeLayer(path);
    });
    expect(digestBytes(readFileSync(path))).toBe(layer.digest);
  });

  test("says what is wrong with content that is not what was named", async () => {
    registry.fail({ path: /blobs/, fault: { kind: "wrongContent" } });
    await expect(writeLayer(join(directory, "blob"))).rejects.toMatchObject({
      code: "DATA_LOSS",
      reason: "DigestMismatch",
    });
  });
});
