import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createLayerPool, downloadBlob } from "@ocid/layer";
import { type Fault, makeLargeLayer, startTestRegistry, type TestRegistry } from "@ocid/registry/testing";
import { type DiffId, finishDigest } from "@ocid/spec";
import { tempRoot } from "@ocid/testkit";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";

// A layer goes from the socket to the disk: in ranges, past faults, and on from what is kept.

const root = tempRoot("ocid-download-");
const pool = createLayerPool({ threads: 1 });
const layer = makeLargeLayer(60_000_000);
let registry: TestRegistry;
let count = 0;

beforeEach(async () => {
  registry = await startTestRegistry();
  registry.addBlob("a/b", layer);
});
afterEach(() => registry[Symbol.asyncDispose]());
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  root.remove();
});

function target() {
  const place = join(root.path, `layer-${++count}`);
  mkdirSync(join(place, "files"), { recursive: true });
  return { place, directory: join(place, "files"), partialPath: join(place, "partial") };
}

async function apply({ directory, partialPath }: ReturnType<typeof target>) {
  const applied = await pool.apply({
    source: { kind: "http", url: `http://${registry.host}/v2/a/b/blobs/${layer.digest}`, headers: {} },
    digest: layer.digest,
    size: layer.size,
    diffId: layer.digest as DiffId,
    directory,
    partialPath,
  });
  expect(statSync(join(directory, "large")).size).toBe(60_000_000);
  return applied;
}

const sent = () => registry.requests.reduce((sum, request) => sum + request.sent, 0);
const ranges = () => registry.requests.map(({ headers }) => headers.range);

test("a large layer comes in ranges over several connections", async () => {
  const place = target();
  expect(await apply(place)).toMatchObject({ digest: layer.digest, size: layer.size, entries: 1 });
  expect(ranges().toSorted()).toEqual([
    "bytes=0-16777215",
    "bytes=16777216-33554431",
    "bytes=33554432-50331647",
    `bytes=50331648-${layer.size - 1}`,
  ]);
  expect(sent()).toBe(layer.size);
  expect(readdirSync(place.place)).toEqual(["files"]);
});

test("who takes the bytes may have the connection wait, however long", async () => {
  const source = {
    kind: "http",
    url: `http://${registry.host}/v2/a/b/blobs/${layer.digest}`,
    headers: {},
  } as const;
  const hash = createHash("sha256");
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  let taken = 0;
  const done = downloadBlob(source, {
    from: 0,
    idleMs: 1_000,
    take(bytes) {
      hash.update(bytes);
      taken += bytes.byteLength;
      begun.resolve();
      return taken < layer.size / 2 ? gate.promise : undefined;
    },
  });
  await begun.promise;
  await sleep(1_500);
  expect(taken).toBeLessThan(1_000_000);
  gate.resolve();
  await done;
  expect(finishDigest(hash)).toBe(layer.digest);
  expect(registry.requests).toHaveLength(1);
});

test("who takes the bytes may refuse more of them after a while", async () => {
  const source = {
    kind: "http",
    url: `http://${registry.host}/v2/a/b/blobs/${layer.digest}`,
    headers: {},
  } as const;
  const take = () => sleep(1).then(() => Promise.reject(new Error("enough")));
  await expect(downloadBlob(source, { from: 0, take })).rejects.toThrow("enough");
});

describe("a server that is", () => {
  test.each<[string, Fault, number?]>([
    ["unable to send ranges", { kind: "ignoreRange" }],
    ["unwilling to send ranges", { kind: "refuseRange" }],
    ["breaking connections", { kind: "cut", afterBytes: 7_000_000 }, 5],
    ["busy", { kind: "status", status: 503, retryAfter: "0" }, 3],
    ["sending other ranges than asked for", { kind: "lieAboutRange" }],
    ["wrong once", { kind: "wrongContent" }, 1],
  ])("%s is coped with", async (_, fault, times) => {
    registry.fail({ path: /blobs/, fault, ...(times === undefined ? {} : { times }) });
    const place = target();
    await apply(place);
    expect(readdirSync(place.place)).toEqual(["files"]);
  });

  test("wrong to the end is refused, and nothing of it kept", async () => {
    registry.fail({ path: /blobs/, fault: { kind: "wrongContent" } });
    const place = target();
    await expect(apply(place)).rejects.toMatchObject({ code: "DATA_LOSS" });
    expect(readdirSync(place.place)).toEqual(["files"]);
  });

  test("redirecting to a link-local address is refused", async () => {
    registry.fail({ path: /blobs/, fault: { kind: "redirect", location: "http://169.254.169.254/x" } });
    await expect(apply(target())).rejects.toMatchObject({ reason: "RedirectRefused" });
  });
});

describe("what an interrupted download has left", () => {
  const keep = (path: string, from: number, to: number) =>
    writeFileSync(`${path}.${from}`, layer.read(from, to));

  test("is gone on from, holes filled", async () => {
    const place = target();
    keep(place.partialPath, 0, 10_000_000);
    keep(place.partialPath, 16_777_216, 20_000_000);
    keep(place.partialPath, 50_331_648, layer.size);
    await apply(place);
    expect(sent()).toBe(16_777_216 - 10_000_000 + (50_331_648 - 20_000_000));
  });

  test("is thrown away when it is wrong, and the layer fetched again", async () => {
    const place = target();
    keep(place.partialPath, 0, 10_000_000);
    truncateSync(`${place.partialPath}.0`, 5_000_000);
    truncateSync(`${place.partialPath}.0`, 10_000_000);
    await apply(place);
    expect(ranges()).toContain(undefined);
    expect(readdirSync(place.place)).toEqual(["files"]);
  });

  test("may be the whole", async () => {
    const place = target();
    keep(place.partialPath, 0, layer.size);
    await apply(place);
    expect(registry.requests).toEqual([]);
  });
});
