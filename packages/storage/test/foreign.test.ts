import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isMountPoint } from "@ocid/host";
import { openStore, type Store } from "@ocid/storage";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  type Blob,
  type Built,
  census,
  collect,
  packBlob,
  peersOn,
  requirePeers,
  smallBlob,
  storeImage,
  tarDigest,
} from "./store-fixture.ts";

// One store, two programs, no process of ours that runs all the time: what each leaves of the other's things.

let leaks: ReturnType<typeof leakCheck>;
let root: ReturnType<typeof tempRoot>;
let store: Store;
let peers: ReturnType<typeof peersOn>;
let base: Blob;
let image: Built;
const name = "localhost/box:1";
const container = "c".repeat(64);

beforeEach(async () => {
  requirePeers();
  leaks = leakCheck();
  root = tempRoot("foreign-");
  store = await openStore({ root: join(root.path, "r"), runRoot: join(root.path, "rr") });
  peers = peersOn(store.root, store.runRoot);
  base = smallBlob(root.path, "base");
  image = await storeImage(store, name, [base, smallBlob(root.path, "top")]);
});

afterEach(async () => {
  await store[Symbol.asyncDispose]();
  root.remove();
  await leaks.expectClean();
});

const mountsFile = () => join(store.runRoot, "overlay-layers/mountpoints.json");
const counts = () =>
  (JSON.parse(readFileSync(mountsFile(), "utf8")) as { count?: number }[]).map(row => row.count);

describe("a mount of ours", () => {
  test("outlives podman and skopeo, which count on top of it and give back only their own", async () => {
    const { path } = await store.mountImage(name);
    peers.podman("images");
    peers.skopeo("inspect", peers.storageName(name));
    expect(counts()).toEqual([1]);
    expect(peers.podman("image", "mount", name).trim()).toBe(path);
    expect(counts()).toEqual([2]);
    peers.podman("image", "unmount", name);
    expect(counts()).toEqual([1]);
    expect(readdirSync(join(path, "data")).sort()).toEqual(["base", "top"]);
    expect(await store.unmountImage(name)).toBe(true);
    expect(isMountPoint(path)).toBe(false);
    expect(counts()).toEqual([]);
  });

  test("takes no notice of a count that nothing is mounted for, as after a reboot", async () => {
    const { layerId, path } = await store.mountImage(name);
    await store.unmountImage(name);
    writeFileSync(mountsFile(), JSON.stringify([{ id: layerId, path, count: 7 }]));
    await store.mountImage(name);
    expect(counts()).toEqual([1]);
    expect(await store.unmountImage(name)).toBe(true);
    expect(isMountPoint(path)).toBe(false);
  });

  test("is taken from all its users when asked for", async () => {
    for (let users = 0; users < 3; users++) await store.mountImage(name);
    expect(counts()).toEqual([3]);
    expect(await store.unmountImage(name, { all: true })).toBe(true);
    expect(counts()).toEqual([]);
    expect(await store.unmountImage(name)).toBe(false);
  });
});

test("a container of ours is external to podman, holds its image, and podman can clear it away", async () => {
  await store.createContainer({ id: container, name: "k8s_box", imageId: image.id, metadata: '{"ocid":{}}' });
  expect(peers.podman("ps", "--all", "--external", "--format", "{{.ID}} {{.Names}}")).toContain(
    `${container.slice(0, 12)} k8s_box`,
  );
  expect(peers.podman("ps", "--all", "--quiet").trim()).toBe("");
  expect(() => peers.podman("rmi", name)).toThrow(/in use|image used/);
  expect(await store.findImage(name)).toBeDefined();
  peers.podman("rm", "-f", "k8s_box");
  expect(await store.listContainers()).toEqual([]);
  const { records, directories } = census(store.root);
  expect(directories).toEqual(records);
  expect(records).toHaveLength(2);
});

test("what podman prunes is neither a layer that waits to be published nor what is in quarantine", async () => {
  const { id } = await store.quarantineImage(name, "test");
  const blob = smallBlob(root.path, "waits");
  await using staged = await store.stageLayer({ ...blob, source: { kind: "file", path: blob.path } });
  peers.podman("image", "prune", "--all", "--force");
  peers.podman("images");
  await store.commitLayers([staged], []);
  await store.restoreQuarantined(id);
  expect(await collect(store.check({ deep: true }))).toEqual([]);
});

test("names with <&> and with bytes that are no UTF-8 go through the store and skopeo bit for bit", async () => {
  const tree = join(root.path, "names");
  mkdirSync(tree);
  for (const file of ["<&>", "caf\xe9", "a\nb"])
    writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from(file, "latin1")]), file);
  writeFileSync(join(tree, "\u2028 \u00e9"), "utf8");
  const names = packBlob(join(root.path, "names.tar"), tree);
  const { id } = await storeImage(store, "localhost/names:1", [names]);
  const { layerId } = await store.getImage(id);
  expect(await tarDigest(store, layerId!)).toBe(names.diffId);
  expect(await collect(store.check({ deep: true }))).toEqual([]);
  const copy = join(root.path, "copy");
  peers.skopeo(...["copy", "--dest-decompress", peers.storageName("localhost/names:1"), `dir:${copy}`]);
  expect(readdirSync(copy)).toContain(names.diffId.slice("sha256:".length));
});
