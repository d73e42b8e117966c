import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openStore, type Store } from "@ocid/storage";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BlockDevice } from "./block-device.ts";
import {
  type Blob,
  type Built,
  collect,
  packBlob,
  smallBlob,
  storeImage,
  tarDigest,
} from "./store-fixture.ts";

let root: ReturnType<typeof tempRoot>;
let leaks: ReturnType<typeof leakCheck>;
let store: Store;
let base: Blob;
let top: Blob;
let image: Built;
let ids: readonly string[];

beforeEach(async () => {
  leaks = leakCheck();
  root = tempRoot("care-");
  store = await openStore({ root: join(root.path, "r"), runRoot: join(root.path, "rr") });
  base = smallBlob(root.path, "base");
  top = smallBlob(root.path, "top");
  image = await storeImage(store, "localhost/box:1", [base, top]);
  ids = (await store.layerChain((await store.getImage(image.id)).layerId!)).map(layer => layer.id).reverse();
});

afterEach(async () => {
  await store[Symbol.asyncDispose]();
  root.remove();
  await leaks.expectClean();
});

const diffOf = (id: string, ...rest: string[]) => join(store.root, "overlay", id, "diff", ...rest);

describe("a check", () => {
  test("finds nothing in a sound store", async () => {
    expect(await collect(store.check({ deep: true }))).toEqual([]);
  });

  test("names a changed file, deep only", async () => {
    writeFileSync(diffOf(ids[1]!, "data/top"), "x".repeat(300));
    expect(await collect(store.check())).toEqual([]);
    expect(await collect(store.check({ deep: true }))).toMatchObject([
      { kind: "layer-content-changed", layerId: ids[1], item: "./data/top", remedy: "fetch" },
    ]);
  });

  test("names what records and directories disagree on", async () => {
    const stray = "f".repeat(64);
    mkdirSync(join(store.root, "overlay", stray));
    writeFileSync(join(store.root, "overlay-layers", `${stray}.tar-split.gz`), "");
    rmSync(join(store.root, "overlay", ids[1]!), { recursive: true });
    const key = "manifest";
    rmSync(join(store.root, "overlay-images", image.id, key));
    const findings = await collect(store.check());
    expect(findings.map(({ kind, layerId, item }) => [kind, layerId ?? item])).toEqual([
      ["layer-directory-missing", ids[1]],
      ["image-data-missing", key],
      ["no-record", undefined],
      ["no-record", undefined],
    ]);
    await store.collectGarbage();
    expect(existsSync(join(store.root, "overlay", stray))).toBe(false);
    expect((await collect(store.check())).map(finding => finding.kind)).not.toContain("no-record");
  });

  test("names a tar-split that ends in the middle", async () => {
    const path = join(store.root, "overlay-layers", `${ids[0]}.tar-split.gz`);
    writeFileSync(path, readFileSync(path).subarray(0, 40));
    expect(await collect(store.check({ deep: true }))).toMatchObject([
      { kind: "layer-content-changed", layerId: ids[0] },
    ]);
  });

  test("names changed data of an image", async () => {
    writeFileSync(join(store.root, "overlay-images", image.id, "manifest"), "{}");
    expect(await collect(store.check({ deep: true }))).toMatchObject([
      { kind: "image-data-changed", imageId: image.id, item: "manifest" },
    ]);
  });
});

describe("what can be made again", () => {
  test.each(["symlinks", "link files", "lower files", "all"])("is: %s", async lost => {
    const overlay = join(store.root, "overlay");
    if (lost === "symlinks" || lost === "all")
      for (const name of readdirSync(join(overlay, "l"))) rmSync(join(overlay, "l", name));
    if (lost === "link files" || lost === "all") for (const id of ids) rmSync(join(overlay, id, "link"));
    if (lost === "lower files" || lost === "all") rmSync(join(overlay, ids[1]!, "lower"));
    expect((await collect(store.check())).every(finding => finding.remedy === "rebuild")).toBe(true);
    expect((await store.rebuildLinks()).length).toBeGreaterThan(0);
    expect(await collect(store.check({ deep: true }))).toEqual([]);
    const { path } = await store.mountImage(image.id);
    expect(readFileSync(join(path, "data/base"), "utf8")).toBe("base".repeat(100));
    await store.unmountImage(image.id);
  });

  test("a damaged layer is replaced under a running container, which goes on with what it has", async () => {
    const container = "a".repeat(64);
    await store.createContainer({ id: container, name: "runs", imageId: image.id });
    const { path } = await store.mountContainer(container);
    writeFileSync(diffOf(ids[0]!, "data/base"), "damaged");
    const stage = (blob: Blob) => store.stageLayer({ ...blob, source: { kind: "file", path: blob.path } });
    {
      await using wrong = await stage(top);
      await expect(store.restoreLayer(ids[0]!, wrong)).rejects.toMatchObject({ code: "DATA_LOSS" });
      await using fresh = await stage(base);
      await store.restoreLayer(ids[0]!, fresh);
    }
    expect(readFileSync(join(path, "data/base"), "utf8")).toBe("damaged");
    expect(await collect(store.check({ deep: true }))).toEqual([]);
    await store.removeContainer(container);
    const mounted = await store.mountImage(image.id);
    expect(readFileSync(join(mounted.path, "data/base"), "utf8")).toBe("base".repeat(100));
    await store.unmountImage(image.id);
  });
});

describe("garbage", () => {
  test("is not what somebody may need: young layers, containers' layers, images", async () => {
    await store.untagImage(["localhost/box:1"]);
    await using staged = await store.stageLayer({
      ...smallBlob(root.path, "young"),
      source: { kind: "file", path: join(root.path, "young.tar") },
    });
    const [young] = await store.commitLayers([staged], []);
    expect((await store.collectGarbage()).layers).toEqual([]);
    expect((await store.collectGarbage({ unusedLayersMs: 0 })).layers).toEqual([young!.id]);
    expect((await store.getImage(image.id)).layerId).toBe(ids[1]);
  });

  test("is the staging of a process that has died, and leftovers of writes", async () => {
    mkdirSync(join(store.root, "overlay/tempdirs/temp-dir-7/0-addition"), { recursive: true });
    writeFileSync(join(store.root, "overlay/tempdirs/lock-7"), "");
    writeFileSync(join(store.root, "overlay-layers/.tmp-layers.json123"), "[");
    expect(await store.collectGarbage()).toMatchObject({
      staging: 1,
      paths: [join(store.root, "overlay-layers/.tmp-layers.json123")],
    });
  });
});

describe("disk usage", () => {
  test("of an image says what removing it frees", async () => {
    await storeImage(store, "localhost/other:1", [base, smallBlob(root.path, "else")]);
    const [mine, other] = await store.imageDiskUsage();
    expect(mine!.freeableBytes).toBeLessThan(mine!.bytes);
    expect(mine!.freeableBytes).toBeGreaterThan(0);
    await store.createContainer({ id: "b".repeat(64), name: "holds", imageId: image.id });
    expect((await store.imageDiskUsage())[0]).toMatchObject({
      freeableBytes: 0,
      containerIds: ["b".repeat(64)],
    });
    await store.removeContainer("b".repeat(64));
    await store.removeImage(image.id);
    const [left] = await store.imageDiskUsage();
    expect(left!.freeableBytes).toBe(left!.bytes);
    expect(left!.bytes).toBe(other!.bytes);
  });
});

test("the bytes that removing an image frees are those that the file system gets back", async () => {
  const device = new BlockDevice(root.path);
  device.format();
  try {
    await using own = await openStore({
      root: join(device.mountPoint, "r"),
      runRoot: join(root.path, "rr-device"),
    });
    const tree = join(root.path, "large");
    mkdirSync(tree);
    for (let at = 0; at < 40; at++) writeFileSync(join(tree, `file-${at}`), Buffer.alloc(at * 5000, at + 1));
    const large = packBlob(join(root.path, "large.tar"), tree);
    await storeImage(own, "localhost/small:1", [base, top]);
    const { id } = await storeImage(own, "localhost/large:1", [base, large]);
    const usage = (await own.imageDiskUsage()).find(({ image: of }) => of.id === id)!;
    // What was deleted counts as free once it is on the disk.
    const usedBytes = () => {
      execFileSync("sync", ["-f", device.mountPoint]);
      const { blocks, bfree, bsize } = statfsSync(device.mountPoint);
      return (blocks - bfree) * bsize;
    };
    const before = usedBytes();
    await own.removeImage(id);
    const freed = before - usedBytes();
    // Beside the image's own, directories that hold it may shrink or records take a block less.
    expect(Math.abs(freed - usage.freeableBytes)).toBeLessThanOrEqual(3 * 4096);
    expect(freed).toBeGreaterThan(3_000_000);
  } finally {
    device.unmount();
  }
});

describe("an additional store", () => {
  test("is read, stood upon, and never written", async () => {
    const before = readdirSync(store.root, { recursive: true }).sort();
    const snapshot = readFileSync(join(store.root, "overlay-layers/layers.json"), "utf8");
    await using second = await openStore({
      root: join(root.path, "second"),
      runRoot: join(root.path, "rr2"),
      additionalStores: [store.root],
    });
    expect(await second.listImages()).toMatchObject([{ id: image.id, readOnly: true }]);
    expect(await tarDigest(second, ids[1]!)).toBe(top.diffId);
    const mounted = await second.mountImage("localhost/box:1");
    expect(mounted.path.startsWith(second.runRoot)).toBe(true);
    expect(readFileSync(join(mounted.path, "data/top"), "utf8")).toBe("top".repeat(100));
    expect(await second.unmountImage("localhost/box:1")).toBe(true);
    const third = await storeImage(second, "localhost/third:1", [base, top, smallBlob(root.path, "third")]);
    expect(
      readdirSync(join(second.root, "overlay-layers")).filter(name => name.endsWith(".gz")),
    ).toHaveLength(1);
    await second.createContainer({ id: "c".repeat(64), name: "on-both", imageId: third.id });
    const { path } = await second.mountContainer("c".repeat(64));
    expect(readdirSync(join(path, "data")).sort()).toEqual(["base", "third", "top"]);
    expect(await collect(second.check({ deep: true }))).toEqual([]);
    await second.removeContainer("c".repeat(64));
    await expect(second.removeImage("localhost/box:1")).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
    });
    await second.removeImage("localhost/third:1");
    expect(readdirSync(store.root, { recursive: true }).sort()).toEqual(before);
    expect(readFileSync(join(store.root, "overlay-layers/layers.json"), "utf8")).toBe(snapshot);
  });

  test("that is none is refused by name", async () => {
    await expect(
      openStore({
        root: join(root.path, "x"),
        runRoot: join(root.path, "rrx"),
        additionalStores: [join(root.path, "nothing")],
      }),
    ).rejects.toMatchObject({ code: "FAILED_PRECONDITION", message: expect.stringContaining("nothing") });
  });
});

describe("an image of many layers", () => {
  test("is mounted", async () => {
    const blobs = Array.from({ length: 160 }, (_, at) => {
      const tree = join(root.path, `many-${at}`);
      mkdirSync(tree);
      writeFileSync(join(tree, `f${at}`), String(at));
      return packBlob(join(root.path, `many-${at}.tar`), tree);
    });
    await storeImage(store, "localhost/many:1", blobs);
    const { path } = await store.mountImage("localhost/many:1");
    expect(readdirSync(path)).toHaveLength(160);
    await store.unmountImage("localhost/many:1");
  });
});

test("an image that is mounted is not removed", async () => {
  await store.mountImage(image.id);
  await expect(store.removeImage(image.id)).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringContaining("mounted at"),
  });
  await store.unmountImage(image.id);
  expect((await store.removeImage(image.id)).removedLayers).toEqual([...ids].reverse());
  expect(readdirSync(join(store.root, "overlay/tempdirs"))).toEqual([]);
});

test("a store that has lost its records is not wiped, and whole again when they are back", async () => {
  renameSync(join(store.root, "overlay-layers/layers.json"), join(root.path, "away"));
  expect((await collect(store.check())).map(finding => finding.kind)).toContain("image-layer-missing");
  await expect(store.layerChain(ids[1]!)).rejects.toMatchObject({ code: "DATA_LOSS" });
  renameSync(join(root.path, "away"), join(store.root, "overlay-layers/layers.json"));
  expect(await collect(store.check({ deep: true }))).toEqual([]);
});
