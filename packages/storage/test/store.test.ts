import { execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isMountPoint, setXattr } from "@ocid/host";
import { type DiffId, digestBytes, digestHex } from "@ocid/spec";
import { openStore, type Store } from "@ocid/storage";
import { leakCheck, makeBusyboxRootfs, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  type Built,
  collect,
  packBlob,
  peersOn,
  requirePeers,
  runFlags,
  storeImage,
  tarDigest,
} from "./store-fixture.ts";

const leaks = leakCheck();
const root = tempRoot("store-");
const R = join(root.path, "r");
const peers = peersOn(R, join(root.path, "rr"));
const { podman } = peers;
let store: Store;
let image: Built;

const blob = (name: string, directory: string) => packBlob(join(root.path, `${name}.tar`), directory);

beforeAll(async () => {
  requirePeers();
  store = await openStore({ root: R, runRoot: peers.runRoot });
  const base = makeBusyboxRootfs(join(root.path, "base"));
  const top = join(root.path, "top");
  mkdirSync(join(top, "etc"), { recursive: true });
  writeFileSync(join(top, "etc/added"), "by the second layer");
  writeFileSync(join(top, "etc/.wh.group"), "");
  image = await storeImage(store, "localhost/box:1", [blob("base", base), blob("top", top)]);
});

afterAll(async () => {
  await store[Symbol.asyncDispose]();
  root.remove();
  await leaks.expectClean();
});

describe("what we store", () => {
  test("podman lists, inspects and runs", () => {
    expect(podman("images", "--noheading", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").trim()).toBe(
      `localhost/box:1 ${image.id.slice(0, 12)}`,
    );
    expect(podman(...runFlags, "localhost/box:1", "cat", "/etc/added")).toBe("by the second layer");
    expect(podman(...runFlags, "localhost/box:1", "sh", "-c", "test -e /etc/group || echo gone")).toBe(
      "gone\n",
    );
  });

  test("skopeo inspects and copies, digests unchanged", () => {
    const name = peers.storageName("localhost/box:1");
    expect(JSON.parse(execFileSync("skopeo", ["inspect", name], { encoding: "utf8" }))).toMatchObject({
      Name: "localhost/box",
      Architecture: "amd64",
    });
    const out = join(root.path, "copied");
    execFileSync("skopeo", ["--insecure-policy", "copy", "--dest-decompress", name, `dir:${out}`]);
    for (const diffId of image.stack) expect(existsSync(join(out, digestHex(diffId)))).toBe(true);
  });

  test("archives are rebuilt bit for bit", async () => {
    const chain = await store.layerChain((await store.getImage("localhost/box:1")).layerId!);
    expect(chain.map(layer => layer.diffId)).toEqual([...image.stack].reverse());
    for (const layer of chain) expect(await tarDigest(store, layer.id)).toBe(layer.diffId);
  });

  test("a layer that is there is not stored twice", async () => {
    const before = readdirSync(join(R, "overlay"));
    await storeImage(store, "localhost/box:2", [
      blob("base", join(root.path, "base")),
      blob("top", join(root.path, "top")),
    ]);
    expect(readdirSync(join(R, "overlay"))).toEqual(before);
    expect((await store.getImage("localhost/box:2")).names).toEqual(["localhost/box:2", "localhost/box:1"]);
    await store.untagImage(["localhost/box:2"]);
  });
});

describe("what others store", () => {
  test("an image that skopeo put there is read, and rebuilt", async () => {
    const layout = join(root.path, "oci-src");
    execFileSync("skopeo", [
      "--insecure-policy",
      "copy",
      peers.storageName("localhost/box:1"),
      `dir:${layout}`,
    ]);
    execFileSync("skopeo", [
      "--insecure-policy",
      "copy",
      `dir:${layout}`,
      peers.storageName("localhost/theirs:1"),
    ]);
    const theirs = await store.getImage("localhost/theirs:1");
    for (const layer of await store.layerChain(theirs.layerId!))
      expect(await tarDigest(store, layer.id)).toBe(layer.diffId);
    podman("rmi", "localhost/theirs:1");
    expect(await store.findImage("localhost/theirs:1")).toBeUndefined();
  });
});

describe("containers", () => {
  test("live through podman's runs, hold their image, and leave nothing", async () => {
    const id = "c".repeat(64);
    await store.createContainer({ id, name: "k8s_box", imageId: image.id, metadata: '{"ocid":{}}' });
    const { path } = await store.mountContainer(id);
    expect((await store.mountContainer(id)).path).toBe(path);
    writeFileSync(join(path, "written"), "x");
    podman("images");
    podman(...runFlags, "localhost/box:1", "true");
    expect(isMountPoint(path)).toBe(true);
    expect(readFileSync(join(path, "written"), "utf8")).toBe("x");
    expect((await store.containerUsage(id)).inodes).toBe(1);
    await expect(store.removeImage("localhost/box:1")).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("k8s_box"),
    });
    expect(() => podman("rmi", "localhost/box:1")).toThrow();
    await store.removeContainer(id);
    await store.removeContainer(id);
    expect(isMountPoint(path)).toBe(false);
    expect(await store.listContainers()).toEqual([]);
  });

  test("what one has changed is a layer of its own", async () => {
    const id = "d".repeat(64);
    await store.createContainer({ id, name: "changes", imageId: image.id });
    const { path } = await store.mountContainer(id);
    writeFileSync(join(path, "etc/added"), "changed");
    rmSync(join(path, "etc/passwd"));
    execFileSync("mv", [join(path, "www"), join(path, "moved")]);
    const tar = join(root.path, "diff.tar");
    await writeFile(tar, store.openContainerDiff(id));
    expect(execFileSync("tar", ["-tf", tar], { encoding: "utf8" }).trim().split("\n").sort()).toEqual(
      ["etc/", "etc/.wh.passwd", "etc/added", "moved/", "moved/index.html", ".wh.www"].sort(),
    );
    await store.removeContainer(id);
    podman("create", "--name", "foreign", "--network", "none", "localhost/box:1", "true");
    const [foreign] = await store.listContainers();
    const renamed = join(R, "overlay", foreign!.layerId, "diff/renamed");
    mkdirSync(renamed);
    setXattr(renamed, "trusted.overlay.redirect", Buffer.from("/www"));
    await expect(writeFile(tar, store.openContainerDiff(foreign!.id))).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
    });
    await expect(collect(store.containerChanges(foreign!.id))).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
    });
    await expect(store.removeImage("localhost/box:1")).rejects.toMatchObject({
      message: expect.stringContaining("foreign"),
    });
    podman("rm", "foreign");
  });

  test("a name is given once", async () => {
    await store.createContainer({ id: "a".repeat(64), name: "same", imageId: image.id, metadata: "{}" });
    await expect(
      store.createContainer({ id: "b".repeat(64), name: "same", imageId: image.id, metadata: "{}" }),
    ).rejects.toMatchObject({ code: "ALREADY_EXISTS" });
    await store.removeContainer("a".repeat(64));
  });
});

describe("a container in a user namespace", () => {
  test("sees the image's files as its own, and so they are written", async () => {
    // What lies above the store is the operator's; the store itself lets pass through.
    chmodSync(root.path, 0o755);
    const mappings = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
    const id = "e".repeat(64);
    await store.createContainer({
      id,
      name: "mapped",
      imageId: image.id,
      idMappings: { uids: mappings, gids: mappings },
    });
    await expect(store.mountContainer(id)).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    const inside = spawn("unshare", ["--user", "sleep", "60"], { stdio: "ignore" });
    const userNamespace = `/proc/${inside.pid}/ns/user`;
    try {
      await vi.waitUntil(() => readlinkSync(userNamespace) !== readlinkSync("/proc/self/ns/user"), {
        timeout: 10_000,
      });
      for (const kind of ["uid", "gid"]) writeFileSync(`/proc/${inside.pid}/${kind}_map`, "0 100000 65536");
      const { path } = await store.mountContainer(id, { userNamespace });
      expect((await store.mountContainer(id)).path).toBe(path);
      for (const name of ["", "bin", "etc/added"]) expect(statSync(join(path, name)).uid).toBe(100_000);
      execFileSync("nsenter", [
        ...["-t", String(inside.pid), "--user", "--setuid", "0", "--setgid", "0"],
        ...["sh", "-c", `echo changed > ${path}/etc/added && rm ${path}/etc/passwd`],
      ]);
      expect(readFileSync(join(path, "etc/added"), "utf8")).toBe("changed\n");
      expect(existsSync(join(R, "overlay", (await store.findContainer(id))!.layerId, "mapped"))).toBe(false);
    } finally {
      inside.kill("SIGKILL");
      await store.removeContainer(id);
    }
  });
});

describe("an image as a file system", () => {
  test("is mounted read-only and counted", async () => {
    const { path } = await store.mountImage("localhost/box:1");
    expect((await store.mountImage("localhost/box:1")).path).toBe(path);
    expect(readFileSync(join(path, "etc/added"), "utf8")).toBe("by the second layer");
    expect(existsSync(join(path, "etc/group"))).toBe(false);
    expect(() => writeFileSync(join(path, "x"), "")).toThrow(/EROFS/);
    await store.unmountImage("localhost/box:1");
    expect(isMountPoint(path)).toBe(true);
    await store.unmountImage("localhost/box:1");
    expect(isMountPoint(path)).toBe(false);
  });
});

describe("faults", () => {
  test("a layer of the wrong diffID leaves nothing", async () => {
    const before = readdirSync(join(R, "overlay")).sort();
    const layer = blob("wrong", join(root.path, "top"));
    await expect(
      store.stageLayer({
        descriptor: layer.descriptor,
        source: { kind: "file", path: layer.path },
        diffId: digestBytes("other") as DiffId,
      }),
    ).rejects.toMatchObject({ code: "DATA_LOSS" });
    expect(readdirSync(join(R, "overlay/tempdirs"))).toEqual([]);
    expect(readdirSync(join(R, "overlay")).sort()).toEqual(before);
  });

  test("a layer left incomplete, and a writable one without container, are cleared away", async () => {
    const path = join(R, "overlay-layers/layers.json");
    const rows = JSON.parse(readFileSync(path, "utf8"));
    const half = "d".repeat(64);
    const orphan = "e".repeat(64);
    mkdirSync(join(R, "overlay", half, "diff"), { recursive: true });
    mkdirSync(join(R, "overlay", orphan, "diff"), { recursive: true });
    writeFileSync(
      path,
      JSON.stringify([
        ...rows,
        { id: half, flags: { incomplete: true } },
        { id: orphan, metadata: '{"ocid":"container"}', created: "2024-01-01T00:00:00Z" },
      ]),
    );
    await store.recover();
    expect(JSON.parse(readFileSync(path, "utf8"))).toEqual(rows);
    expect(existsSync(join(R, "overlay", half))).toBe(false);
    expect(existsSync(join(R, "overlay", orphan))).toBe(false);
  });

  test("records that cannot be read are named, and kept", async () => {
    const path = join(R, "overlay-images/images.json");
    const good = readFileSync(path);
    writeFileSync(path, "[{");
    await expect(store.listImages()).rejects.toMatchObject({
      code: "DATA_LOSS",
      message: expect.stringContaining("images.json"),
    });
    await expect(store.removeImage(image.id)).rejects.toMatchObject({ code: "DATA_LOSS" });
    expect(readFileSync(path, "utf8")).toBe("[{");
    writeFileSync(path, good);
  });
});

test("removing the last image leaves an empty store", async () => {
  await store.removeImage("localhost/box:1");
  expect(readFileSync(join(R, "overlay-layers/layers.json"), "utf8")).toBe("[]");
  expect(readdirSync(join(R, "overlay/l"))).toEqual([]);
  expect(podman("images", "-q")).toBe("");
});
