import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openStore, type Store } from "@ocid/storage";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  type Blob,
  busyboxBlob,
  census,
  collect,
  peersOn,
  requirePeers,
  runFlags,
  smallBlob,
  storeImage,
  tarDigest,
} from "./store-fixture.ts";

// Images in one place, containers in another: `imagestore` of storage.conf.

let root: ReturnType<typeof tempRoot>;
let leaks: ReturnType<typeof leakCheck>;
let places: { readonly root: string; readonly runRoot: string; readonly imageStore: string };
let store: Store;
let base: Blob;
let top: Blob;
const container = "c".repeat(64);

beforeAll(requirePeers);

beforeEach(async () => {
  leaks = leakCheck();
  root = tempRoot("split-");
  places = {
    root: join(root.path, "graph"),
    runRoot: join(root.path, "run"),
    imageStore: join(root.path, "images"),
  };
  store = await openStore(places);
  base = smallBlob(root.path, "base");
  top = smallBlob(root.path, "top");
});

afterEach(async () => {
  await store[Symbol.asyncDispose]();
  root.remove();
  await leaks.expectClean();
});

const records = (directory: string, name: string) => {
  const path = join(directory, name);
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as { id: string }[]) : [];
};

describe("a store whose images are apart", () => {
  test("has images and their layers there, archives and containers in the graph root", async () => {
    const image = await storeImage(store, "localhost/box:1", [base, top]);
    const { layerId } = await store.getImage("localhost/box:1");
    const layers = (await store.layerChain(layerId!)).map(({ id }) => id).sort();
    const { layerId: writable } = await store.createContainer({
      id: container,
      name: "box",
      imageId: image.id,
    });

    expect(store.imageRoot).toBe(places.imageStore);
    expect(census(places.imageStore)).toEqual({ records: layers, directories: layers, links: 2 });
    expect(census(places.root)).toEqual({ records: [writable], directories: [writable], links: 1 });
    expect(records(join(places.imageStore, "overlay-images"), "images.json")).toMatchObject([
      { id: image.id, names: ["localhost/box:1"] },
    ]);
    expect(existsSync(join(places.root, "overlay-images/images.json"))).toBe(false);
    expect(existsSync(join(places.imageStore, "overlay-containers"))).toBe(false);
    expect(
      readdirSync(join(places.root, "overlay-layers")).filter(name => name.endsWith(".gz")),
    ).toHaveLength(2);
    const lower = readFileSync(join(places.root, "overlay", writable, "lower"), "utf8");
    for (const link of lower.split(":"))
      expect(existsSync(join(places.imageStore, "overlay", link))).toBe(true);
    expect(await collect(store.check({ deep: true }))).toEqual([]);
    expect(await tarDigest(store, layerId!)).toBe(top.diffId);
  });

  test("mounts, changes and commits a container, and mounts an image below the run root", async () => {
    const image = await storeImage(store, "localhost/box:1", [base, top]);
    await store.createContainer({ id: container, name: "box", imageId: image.id });
    const { path } = await store.mountContainer(container);
    expect(path.startsWith(places.root)).toBe(true);
    expect(readdirSync(join(path, "data")).sort()).toEqual(["base", "top"]);
    writeFileSync(join(path, "data/new"), "new");
    rmSync(join(path, "data/top"));
    expect(await collect(store.containerChanges(container))).toEqual([
      { kind: "added", path: "/data/new" },
      { kind: "removed", path: "/data/top" },
    ]);
    const committed = await store.commitContainer(container, { names: ["localhost/box:2"] });
    const mounted = await store.mountImage(committed.id);
    expect(mounted.path).toBe(join(places.runRoot, "overlay", committed.layerId!, "merged"));
    expect(readdirSync(join(mounted.path, "data")).sort()).toEqual(["base", "new"]);
    expect(records(join(places.runRoot, "overlay-layers"), "mountpoints.json")).toHaveLength(2);
    await expect(store.removeImage(committed.id)).rejects.toMatchObject({ reason: "ImageInUse" });
    expect(await store.unmountImage(committed.id)).toBe(true);
    const usage = await store.usage();
    expect(usage.containers.inodes).toBeGreaterThan(1);
    expect(usage.images.bytes).toBeGreaterThan(10_000);
    expect(await collect(store.check({ deep: true }))).toEqual([]);
  });

  test("removes all of an image that nothing needs, and says what that frees", async () => {
    const image = await storeImage(store, "localhost/box:1", [base, top]);
    const other = await storeImage(store, "localhost/base:1", [base]);
    await store.createContainer({ id: container, name: "box", imageId: image.id });
    await expect(store.removeImage(image.id)).rejects.toMatchObject({ reason: "ImageInUse" });
    await store.removeContainer(container);
    const [usage] = (await store.imageDiskUsage()).filter(({ image: of }) => of.id === image.id);
    expect(usage!.freeableBytes).toBeGreaterThan(0);
    expect(usage!.freeableBytes).toBeLessThan(usage!.bytes);
    expect((await store.removeImage(image.id)).removedLayers).toHaveLength(1);
    expect((await store.removeImage(other.id)).removedLayers).toHaveLength(1);
    for (const place of [places.imageStore, places.root])
      expect(census(place)).toEqual({ records: [], directories: [], links: 0 });
    expect(readdirSync(join(places.root, "overlay-layers")).filter(name => name.endsWith(".gz"))).toEqual([]);
    expect(readdirSync(join(places.imageStore, "overlay/tempdirs"))).toEqual([]);
  });

  test("is checked, mended and collected in both places", async () => {
    const image = await storeImage(store, "localhost/box:1", [base, top]);
    await store.createContainer({ id: container, name: "box", imageId: image.id });
    const { layerId } = await store.getImage(image.id);
    const directory = join(places.imageStore, "overlay", layerId!);
    const link = readFileSync(join(directory, "link"), "utf8");
    rmSync(join(places.imageStore, "overlay/l", link));
    writeFileSync(join(directory, "diff/data/top"), "damaged");
    const strays = [
      join(places.imageStore, "overlay", "e".repeat(64)),
      join(places.root, "overlay", "f".repeat(64)),
    ];
    for (const stray of strays) mkdirSync(stray);
    const staging = join(places.imageStore, "overlay/tempdirs");
    mkdirSync(join(staging, "temp-dir-7/0-addition"), { recursive: true });
    writeFileSync(join(staging, "lock-7"), "");

    const kinds = (await collect(store.check({ deep: true }))).map(({ kind }) => kind).sort();
    expect(kinds).toEqual(["layer-content-changed", "layer-link-broken", "no-record", "no-record"]);
    expect(await store.rebuildLinks()).toEqual([layerId]);
    {
      await using staged = await store.stageLayer({ ...top, source: { kind: "file", path: top.path } });
      await store.restoreLayer(layerId!, staged);
    }
    const collected = await store.collectGarbage();
    expect(collected).toMatchObject({ staging: 1, layers: [] });
    expect(collected.paths.toSorted()).toEqual(strays.toSorted());
    expect(await collect(store.check({ deep: true }))).toEqual([]);
  });

  test("quarantines an image beside where it was, and puts it back", async () => {
    const image = await storeImage(store, "localhost/box:1", [base, top]);
    const before = (place: string) => readdirSync(place, { recursive: true }).map(String).sort();
    const was = before(join(places.imageStore, "overlay"));
    const entry = await store.quarantineImage(image.id, "its content has changed");
    expect(await store.listImages()).toEqual([]);
    expect(census(places.imageStore)).toEqual({ records: [], directories: [], links: 0 });
    expect(readdirSync(join(places.imageStore, "ocid/quarantine", entry.id)).sort()).toEqual([
      "image",
      "layers",
    ]);
    await store.restoreQuarantined(entry.id);
    expect(before(join(places.imageStore, "overlay"))).toEqual(was);
    expect(await collect(store.check({ deep: true }))).toEqual([]);
    const again = await store.quarantineImage(image.id, "again");
    await store.removeQuarantined(again.id);
    for (const place of [places.imageStore, places.root])
      expect(readdirSync(join(place, "ocid/quarantine"))).toEqual([]);
  });

  test("clears away what died incomplete in either place", async () => {
    for (const place of [places.root, places.imageStore]) {
      const id = (place === places.root ? "1" : "2").repeat(64);
      mkdirSync(join(place, "overlay", id, "diff"), { recursive: true });
      writeFileSync(
        join(place, "overlay-layers/layers.json"),
        JSON.stringify([{ id, created: new Date().toISOString(), flags: { incomplete: true } }]),
      );
    }
    await store.recover();
    for (const place of [places.imageStore, places.root])
      expect(census(place)).toEqual({ records: [], directories: [], links: 0 });
  });
});

describe("a graph root that had images before", () => {
  test("goes on with them, and removes them where they are", async () => {
    let old: string;
    {
      await using before = await openStore({ root: places.root, runRoot: places.runRoot });
      old = (await storeImage(before, "localhost/box:1", [base])).id;
    }
    // On the layers that are there already; only what is new goes to the image store.
    const image = await storeImage(store, "localhost/box:2", [base, top]);
    expect((await store.listImages()).map(({ id }) => id).sort()).toEqual([old, image.id].sort());
    expect(census(places.imageStore).records).toHaveLength(1);
    expect(census(places.root).records).toHaveLength(1);
    await store.createContainer({ id: container, name: "box", imageId: image.id });
    const { path } = await store.mountContainer(container);
    expect(readdirSync(join(path, "data")).sort()).toEqual(["base", "top"]);
    expect(await collect(store.check({ deep: true }))).toEqual([]);
    // A name moves here from the image that had it there.
    await storeImage(store, "localhost/box:1", [base, top]);
    expect((await store.findImage("localhost/box:1"))!.id).toBe(image.id);
    expect((await store.getImage(old)).names).toEqual([]);
    await store.removeContainer(container);
    await store.removeImage(image.id);
    await store.removeImage(old);
    for (const place of [places.imageStore, places.root])
      expect(census(place)).toEqual({ records: [], directories: [], links: 0 });
  });
});

describe("podman", () => {
  test("on the image store as its graph root runs our image, which we keep while its container is there", async () => {
    const image = await storeImage(store, "localhost/box:1", [busyboxBlob(root.path), top]);
    const peers = peersOn(places.imageStore, join(root.path, "podman"));
    expect(peers.podman("images", "--format", "{{.Repository}}:{{.Tag}}")).toBe("localhost/box:1\n");
    expect(peers.podman(...runFlags, "localhost/box:1", "/bin/cat", "/data/top")).toBe("top".repeat(100));
    peers.podman("create", "--name", "theirs", "localhost/box:1");
    await expect(store.removeImage(image.id)).rejects.toMatchObject({
      reason: "ImageInUse",
      message: expect.stringContaining("theirs"),
    });
    await store.recover();
    await store.collectGarbage({ unusedLayersMs: 0 });
    expect(await collect(store.check({ deep: true }))).toEqual([]);
    peers.podman("rm", "theirs");
    await store.removeImage(image.id);
    expect(peers.podman("images", "-q")).toBe("");
  });

  test("on the graph root sees our containers, with the image store as an additional one", async () => {
    const image = await storeImage(store, "localhost/box:1", [busyboxBlob(root.path), top]);
    await store.createContainer({ id: container, name: "ours", imageId: image.id });
    const { path } = await store.mountContainer(container);
    const peers = peersOn(places.root, places.runRoot);
    const podman = (...args: string[]) =>
      peers.podman("--storage-opt", `overlay.imagestore=${places.imageStore}`, ...args);
    expect(podman("ps", "-a", "--external", "--format", "{{.Names}}")).toBe("ours\n");
    expect(podman("images", "--format", "{{.Repository}}:{{.Tag}}")).toBe("localhost/box:1\n");
    expect(podman(...runFlags, "localhost/box:1", "/bin/cat", "/data/top")).toBe("top".repeat(100));
    expect(readFileSync(join(path, "data/top"), "utf8")).toBe("top".repeat(100));
    expect(await collect(store.check({ deep: true }))).toEqual([]);
  });

  test("what it stores in the image store is ours to run", async () => {
    cpSync(base.path, join(root.path, "copy.tar"));
    const peers = peersOn(places.imageStore, join(root.path, "podman"));
    peers.podman("import", join(root.path, "copy.tar"), "localhost/theirs:1");
    const { id, layerId } = await store.getImage("localhost/theirs:1");
    await store.createContainer({ id: container, name: "box", imageId: id });
    const { path } = await store.mountContainer(container);
    expect(readdirSync(join(path, "data"))).toEqual(["base"]);
    // It kept the layer's archive beside it, in the image store.
    expect(await tarDigest(store, layerId!)).toBe(base.diffId);
    expect(await collect(store.check({ deep: true }))).toEqual([]);
    await store.removeContainer(container);
    await store.removeImage(id);
    expect(peers.podman("images", "-q")).toBe("");
    expect(census(places.imageStore)).toEqual({ records: [], directories: [], links: 0 });
  });
});
