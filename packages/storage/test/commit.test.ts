import { execFileSync } from "node:child_process";
import {
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { getXattr, makeNode, setXattr } from "@ocid/host";
import { parseImageConfig, parseManifest } from "@ocid/spec";
import { openStore, type Store } from "@ocid/storage";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  type Blob,
  type Built,
  busyboxBlob,
  collect,
  packBlob,
  peersOn,
  requirePeers,
  runFlags,
  storeImage,
  tarDigest,
} from "./store-fixture.ts";

// A container's changes: listed, and made an image of.

let leaks: ReturnType<typeof leakCheck>;
let root: ReturnType<typeof tempRoot>;
let store: Store;
let peers: ReturnType<typeof peersOn>;
let image: Built;
const container = "c".repeat(64);

beforeEach(async () => {
  requirePeers();
  leaks = leakCheck();
  root = tempRoot("commit-");
  store = await openStore({ root: join(root.path, "r"), runRoot: join(root.path, "rr") });
  peers = peersOn(store.root, store.runRoot);
  image = await storeImage(store, "localhost/base:1", [busyboxBlob(root.path), treeBlob()]);
});

afterEach(async () => {
  await store[Symbol.asyncDispose]();
  root.remove();
  await leaks.expectClean();
});

function treeBlob(): Blob {
  const tree = join(root.path, "tree");
  for (const name of ["gone", "replaced", "kept"]) {
    mkdirSync(join(tree, "srv", name), { recursive: true });
    writeFileSync(join(tree, "srv", name, "old"), name);
  }
  writeFileSync(join(tree, "srv/file"), "before");
  writeFileSync(join(tree, "srv/removed"), "removed");
  return packBlob(join(root.path, "tree.tar"), tree);
}

/** Every kind of change that a layer can hold. */
function change(path: string): void {
  const at = (name: string) => join(path, "srv", name);
  writeFileSync(at("file"), "after");
  rmSync(at("removed"));
  rmSync(at("gone"), { recursive: true });
  rmSync(at("replaced"), { recursive: true });
  mkdirSync(at("replaced"));
  writeFileSync(at("replaced/new"), "new");
  writeFileSync(at("kept/more"), "more");
  linkSync(at("kept/more"), at("linked"));
  symlinkSync("kept/more", at("symlink"));
  setXattr(at("kept/more"), "user.colour", Buffer.from("blue"));
  chownSync(at("kept/more"), 1000, 1001);
  makeNode(at("device"), 0o20600, 1, 3);
  writeFileSync(at("caf\u00e9 <&>"), "name");
  renameSync(at("kept/old"), at("kept/renamed"));
  for (const name of ["file", "replaced/new", "kept/more", "kept", "replaced", "."])
    utimesSync(at(name), 1e9, 1e9);
}

async function changed(id: string): Promise<string> {
  await store.createContainer({ id, name: `c-${id.slice(0, 8)}`, imageId: image.id });
  const { path } = await store.mountContainer(id);
  change(path);
  return path;
}

test("changes are listed, each once", async () => {
  await changed(container);
  const letters = { added: "A", changed: "C", removed: "D" };
  const list = (await collect(store.containerChanges(container))).map(
    ({ kind, path }) => `${letters[kind]} ${path}`,
  );
  expect(list).toEqual([
    "A /srv/caf\u00e9 <&>",
    "A /srv/device",
    "C /srv/file",
    "D /srv/gone",
    "A /srv/kept/more",
    "D /srv/kept/old",
    "A /srv/kept/renamed",
    "A /srv/linked",
    "D /srv/removed",
    "A /srv/replaced/new",
    "D /srv/replaced/old",
    "A /srv/symlink",
  ]);
  // What was mounted to compare with is given back.
  expect(store.imageMountPath(await store.getImage(image.id))).toBeUndefined();
});

test("an image made of them has them all, and every program reads it", async () => {
  await changed(container);
  const committed = await store.commitContainer(container, {
    names: ["localhost/committed:1"],
    author: "somebody",
    comment: "changed",
  });
  await store.removeContainer(container);
  const config = parseImageConfig(await store.readImageData(committed.id, `sha256:${committed.id}`));
  expect(config).toMatchObject({ author: "somebody", config: { Cmd: ["/bin/sh"] } });
  expect(config.rootfs.diff_ids).toHaveLength(3);
  expect(config.history?.at(-1)).toMatchObject({ comment: "changed", created_by: "ocic commit" });
  const manifest = parseManifest(await store.readImageData(committed.id, "manifest"));
  expect(manifest.kind === "image" && manifest.manifest.layers.at(-1)?.digest).toBe(
    config.rootfs.diff_ids.at(-1),
  );
  expect(await collect(store.check({ deep: true }))).toEqual([]);
  expect(await tarDigest(store, committed.layerId!)).toBe(config.rootfs.diff_ids.at(-1));

  const mounted = await store.mountImage(committed.id);
  const srv = (name: string) => join(mounted.path, "srv", name);
  expect(readFileSync(srv("file"), "utf8")).toBe("after");
  for (const name of ["gone", "removed", "replaced/old", "kept/old"])
    expect(lstatSync(srv(name), { throwIfNoEntry: false })).toBeUndefined();
  expect(statSync(srv("linked")).ino).toBe(statSync(srv("kept/more")).ino);
  expect(statSync(srv("linked"))).toMatchObject({ uid: 1000, gid: 1001 });
  expect(getXattr(srv("linked"), "user.colour")?.toString()).toBe("blue");
  expect(statSync(srv("device")).isCharacterDevice()).toBe(true);
  await store.unmountImage(mounted);

  expect(peers.podman(...runFlags, "localhost/committed:1", "cat", "/srv/kept/more")).toBe("more");
  peers.skopeo("copy", "-q", peers.storageName("localhost/committed:1"), `dir:${join(root.path, "out")}`);
  const copied = JSON.parse(readFileSync(join(root.path, "out/manifest.json"), "utf8"));
  expect(copied.layers).toHaveLength(3);
});

test("the same changes at the same time make the same image", async () => {
  const other = "d".repeat(64);
  await changed(container);
  await changed(other);
  // Times and links between files belong to what is compared; those that nobody set are made equal.
  for (const id of [container, other])
    execFileSync("find", [
      join(store.containerMountPath((await store.findContainer(id))!)!, "srv"),
      ...setTimes,
    ]);
  const request = { names: [], created: "2024-05-06T07:08:09Z" };
  const first = await store.commitContainer(container, request);
  const second = await store.commitContainer(other, request);
  expect(second.id).toBe(first.id);
});

const setTimes = ["-xdev", "-newermt", "2020-01-01", "-exec", "touch", "-h", "-d@1000000000", "{}", "+"];

test("changes that another program made are read the same way", async () => {
  peers.podman("create", "--name", "theirs", "--network", "none", "localhost/base:1", "true");
  const path = peers.podman("mount", "theirs").trim();
  change(path);
  peers.podman("umount", "theirs");
  const { id } = (await store.findContainer("theirs"))!;
  expect((await collect(store.containerChanges(id))).map(({ path }) => path)).toContain("/srv/gone");
  const committed = await store.commitContainer(id, { names: ["localhost/of-theirs:1"] });
  expect(await tarDigest(store, committed.layerId!)).toMatch(/^sha256:/);
  expect(await collect(store.check({ deep: true }))).toEqual([]);
  peers.podman("rm", "-f", "theirs");
});
