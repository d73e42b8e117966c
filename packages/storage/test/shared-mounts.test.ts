import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { lockFile } from "@ocid/host";
import { openStore, type Store } from "@ocid/storage";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Blob, census, peersOn, requirePeers, smallBlob, storeImage } from "./store-fixture.ts";

// What other programs may do between two steps of ours, or to a mount of ours.

let leaks: ReturnType<typeof leakCheck>;
let root: ReturnType<typeof tempRoot>;
let store: Store;
let peers: ReturnType<typeof peersOn>;
let base: Blob;

beforeEach(async () => {
  requirePeers();
  leaks = leakCheck();
  root = tempRoot("shared-mounts-");
  store = await openStore({ root: join(root.path, "r"), runRoot: join(root.path, "rr") });
  peers = peersOn(store.root, store.runRoot);
  base = smallBlob(root.path, "base");
});

afterEach(async () => {
  await store[Symbol.asyncDispose]();
  root.remove();
  await leaks.expectClean();
});

const counts = () =>
  JSON.parse(readFileSync(join(store.runRoot, "overlay-layers/mountpoints.json"), "utf8")) as unknown[];

test("an image that another program removes while it waits to be mounted leaves nothing behind", async () => {
  const image = await storeImage(store, "localhost/base:1", [base]);
  const { layerId } = await store.getImage(image.id);
  const lock = await lockFile(join(store.root, "storage.lock"), { mode: "write" });
  const mounting = store.mountImage(image.id);
  // It has looked the image up by now, and waits for the lock.
  {
    await using other = await openStore({ root: store.root, runRoot: store.runRoot });
    const removing = other.removeImage(image.id);
    await removing;
    expect(await store.findImage(image.id)).toBeUndefined();
    lock.release();
    await expect(mounting).rejects.toMatchObject({ code: "FAILED_PRECONDITION", reason: "LayerMissing" });
  }
  expect(existsSync(join(store.root, "overlay", layerId!))).toBe(false);
  expect(census(store.root).directories).toEqual([]);
});

test("a mount is given back after another program removed the image but not its layer", async () => {
  await storeImage(store, "localhost/above:1", [base, smallBlob(root.path, "above")]);
  const image = await storeImage(store, "localhost/base:1", [base]);
  const mounted = await store.mountImage(image.id);
  peers.podman("rmi", "localhost/base:1");
  expect(await store.findImage(image.id)).toBeUndefined();
  expect(readdirSync(join(mounted.path, "data"))).toEqual(["base"]);
  await expect(store.unmountImage(image.id)).rejects.toMatchObject({ code: "NOT_FOUND" });
  expect(await store.unmountImage(mounted)).toBe(true);
  expect(counts()).toEqual([]);
});
