import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openStore, type Store } from "@ocid/storage";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Blob, type Built, census, collect, peersOn, smallBlob, storeImage } from "./store-fixture.ts";

let root: ReturnType<typeof tempRoot>;
let leaks: ReturnType<typeof leakCheck>;
let store: Store;
let base: Blob;
let top: Blob;
let image: Built;
let layersFile: string;
const container = "c".repeat(64);

beforeEach(async () => {
  leaks = leakCheck();
  root = tempRoot("quarantine-");
  store = await openStore({ root: join(root.path, "r"), runRoot: join(root.path, "rr") });
  base = smallBlob(root.path, "base");
  top = smallBlob(root.path, "top");
  image = await storeImage(store, "localhost/bad:1", [base, top]);
  await storeImage(store, "localhost/good:1", [base, smallBlob(root.path, "good")]);
  layersFile = join(store.root, "overlay-layers/layers.json");
});

afterEach(async () => {
  await store[Symbol.asyncDispose]();
  root.remove();
  await leaks.expectClean();
});

const contentOf = (reference: string, file: string) => async () => {
  const mounted = await store.mountImage(reference);
  try {
    return readFileSync(join(mounted.path, file), "utf8");
  } finally {
    await store.unmountImage(mounted);
  }
};

async function expectWhole(): Promise<void> {
  expect(await collect(store.check({ deep: true }))).toEqual([]);
  const { records, directories, links } = census(store.root);
  expect(directories).toEqual(records);
  expect(links).toBe(records.length);
}

describe("an image in quarantine", () => {
  test("is out of the store with what only it needs, and comes back as it was", async () => {
    const records = () =>
      [layersFile, join(store.root, "overlay-images/images.json")].map(path =>
        JSON.parse(readFileSync(path, "utf8")).sort((a: { id: string }, b: { id: string }) =>
          a.id < b.id ? -1 : 1,
        ),
      );
    const before = records();
    // With a mount below it, the overlay directory is a mount of its own, which rename(2) does not leave.
    await store.mountImage("localhost/good:1");
    const entry = await store.quarantineImage("localhost/bad:1", "its content has changed");
    expect(entry).toMatchObject({
      imageId: image.id,
      names: ["localhost/bad:1"],
      layerIds: [expect.any(String)],
    });
    expect(store.listQuarantine()).toEqual([entry]);
    expect(await store.findImage("localhost/bad:1")).toBeUndefined();
    await expectWhole();
    expect(peersOn(store.root, store.runRoot).podman("images", "-q").trim().split("\n")).toHaveLength(1);
    await store.collectGarbage({ unusedLayersMs: 0 });
    await store.restoreQuarantined(entry.id);
    expect(records()).toEqual(before);
    expect(store.listQuarantine()).toEqual([]);
    await expectWhole();
    expect(await contentOf("localhost/bad:1", "data/top")()).toBe("top".repeat(100));
    await store.unmountImage("localhost/good:1");
  });

  test("may be pulled again meanwhile; then it is not put back over that one", async () => {
    const { id } = await store.quarantineImage(image.id, "test");
    await storeImage(store, "localhost/bad:1", [base, top]);
    await expect(store.restoreQuarantined(id)).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    await expectWhole();
    await store.removeQuarantined(id);
    expect(readdirSync(join(store.root, "ocid/quarantine"))).toEqual([]);
    await expect(store.removeQuarantined("../../overlay")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  test("is none that a container or a mount uses", async () => {
    await store.createContainer({ id: container, name: "runs", imageId: image.id });
    await expect(store.quarantineImage(image.id, "test")).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("runs"),
    });
    await store.removeContainer(container);
    await store.mountImage(image.id);
    await expect(store.quarantineImage(image.id, "test")).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
    });
    await store.unmountImage(image.id);
    expect(store.listQuarantine()).toEqual([]);
  });

  test("whose move was interrupted is moved by the next one, not collected", async () => {
    const { layerId } = await store.getImage(image.id);
    const entry = await store.quarantineImage(image.id, "test");
    const aside = join(store.root, "ocid/quarantine", entry.id, "layers", layerId!);
    renameSync(join(aside, "overlay"), join(store.root, "overlay", layerId!));
    renameSync(join(aside, "tar-split.gz"), join(store.root, `overlay-layers/${layerId}.tar-split.gz`));
    await store.collectGarbage();
    expect(readdirSync(aside).sort()).toEqual(["overlay", "tar-split.gz"]);
    await expectWhole();
    await store.restoreQuarantined(entry.id);
    expect(await contentOf("localhost/bad:1", "data/top")()).toBe("top".repeat(100));
  });
});

describe("layers whose records were lost", () => {
  test("stay where they are until they are moved aside; what a container has stays even then", async () => {
    await store.createContainer({ id: container, name: "runs", imageId: image.id });
    const { path } = await store.mountContainer(container);
    writeFileSync(join(path, "precious"), "precious");
    const good = readFileSync(layersFile, "utf8");
    writeFileSync(layersFile, "[]");
    const directories = readdirSync(join(store.root, "overlay")).sort();
    expect((await store.collectGarbage({ unusedLayersMs: 0 })).paths).toEqual([]);
    expect(readdirSync(join(store.root, "overlay")).sort()).toEqual(directories);
    const entry = await store.quarantineUnrecorded("records lost");
    expect(entry!.layerIds).toHaveLength(3);
    await store.collectGarbage({ unusedLayersMs: 0 });
    expect(readFileSync(join(path, "precious"), "utf8")).toBe("precious");
    expect(readFileSync(join(path, "data/top"), "utf8")).toBe("top".repeat(100));
    await store.restoreQuarantined(entry!.id);
    writeFileSync(layersFile, good);
    await expectWhole();
    await store.removeContainer(container);
  });
});

describe("a file of records that a power cut has emptied", () => {
  test.each([
    "overlay-layers/layers.json",
    "overlay-images/images.json",
    "overlay-containers/containers.json",
  ])("%s stops every change by name and nothing is wiped", async file => {
    await store.createContainer({ id: container, name: "runs", imageId: image.id });
    const path = join(store.root, file);
    const good = readFileSync(path, "utf8");
    const tree = () => readdirSync(store.root, { recursive: true }).sort();
    for (const damage of [() => writeFileSync(path, ""), () => rmSync(path)]) {
      damage();
      const before = tree();
      const lost = { code: "DATA_LOSS", message: expect.stringContaining(path) };
      await expect(store.collectGarbage({ unusedLayersMs: 0 })).rejects.toMatchObject(lost);
      if (!file.includes("images")) await expect(store.recover()).rejects.toMatchObject(lost);
      if (!file.includes("images"))
        await expect(store.removeContainer(container).then(() => store.recover())).rejects.toMatchObject(
          lost,
        );
      expect(tree()).toEqual(before);
    }
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, good);
    await expectWhole();
    await store.removeContainer(container);
    expect(existsSync(join(store.root, "overlay-containers", container))).toBe(false);
  });
});
