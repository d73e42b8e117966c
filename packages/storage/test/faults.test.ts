import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openStore, type Store } from "@ocid/storage";
import { mountpointsBelow, tempRoot } from "@ocid/testkit";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BlockDevice } from "./block-device.ts";
import {
  type Blob,
  type Built,
  buildImage,
  census,
  collect,
  packBlob,
  smallBlob,
  storeImage,
} from "./store-fixture.ts";

// Damaged files, hostile records and failing disks: a clear error, nothing lost, nothing outside touched.

let root: ReturnType<typeof tempRoot>;
let place: { root: string; runRoot: string };
let base: Blob;
let image: Built;

beforeEach(() => {
  root = tempRoot("faults-");
  place = { root: join(root.path, "r"), runRoot: join(root.path, "rr") };
  base = smallBlob(root.path, "base");
});

afterEach(() => {
  const mounts = mountpointsBelow(root.path);
  const open = readdirSync("/proc/self/fd").flatMap(fd => readlinkOf(`/proc/self/fd/${fd}`));
  root.remove();
  expect(mounts).toEqual([]);
  expect(open.filter(path => path.startsWith(root.path))).toEqual([]);
});

function readlinkOf(path: string): readonly string[] {
  try {
    return [readlinkSync(path)];
  } catch {
    return [];
  }
}

/** A store with an image, closed again. */
async function filled(): Promise<void> {
  await using store = await openStore(place);
  image = await storeImage(store, "localhost/box:1", [base, smallBlob(root.path, "top")]);
}

async function withStore<T>(work: (store: Store) => Promise<T>): Promise<T> {
  await using store = await openStore(place);
  return await work(store);
}

describe("records", () => {
  const files = [
    "overlay-layers/layers.json",
    "overlay-images/images.json",
    "overlay-containers/containers.json",
  ];
  const damages = {
    "that are no JSON": () => "{[",
    "that end in the middle": (text: string) => text.slice(0, text.length / 2) || "[{",
    "that are no list": () => '{"id":"a"}',
    "with ids that are paths": () => '[{"id":"../../etc","layer":"x","created":""}]',
    "with bytes of zero": () => "\0".repeat(300),
  };
  test.each(files.flatMap(file => Object.keys(damages).map(damage => [file, damage] as const)))(
    "of %s %s are named, and nothing is wiped",
    async (file, damage) => {
      await filled();
      const path = join(place.root, file);
      const before = existsSync(path) ? readFileSync(path, "utf8") : "[]";
      const bad = damages[damage as keyof typeof damages](before);
      writeFileSync(path, bad);
      const trees = () => [
        ...readdirSync(join(place.root, "overlay")),
        ...readdirSync(join(place.root, "overlay/l")),
      ];
      const all = trees();
      await withStore(async store => {
        const expected = { code: "DATA_LOSS", message: expect.stringContaining(path) };
        await expect(store.collectGarbage()).rejects.toMatchObject(expected);
        await expect(store.removeImage(image.id)).rejects.toMatchObject(expected);
        await expect(collect(store.check())).rejects.toMatchObject(expected);
      });
      expect(readFileSync(path, "utf8")).toBe(bad);
      expect(trees()).toEqual(all);
      writeFileSync(path, before);
      expect(await withStore(store => collect(store.check({ deep: true })))).toEqual([]);
    },
  );

  test("with a top layer that is a path lead nowhere outside", async () => {
    await filled();
    const path = join(place.root, "overlay-images/images.json");
    const rows = JSON.parse(readFileSync(path, "utf8"));
    rows[0].layer = "../../../outside";
    writeFileSync(path, JSON.stringify(rows));
    mkdirSync(join(root.path, "outside/diff"), { recursive: true });
    writeFileSync(join(root.path, "outside/diff/precious"), "precious");
    await withStore(async store => {
      await expect(store.mountImage(image.id)).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
      expect((await collect(store.check())).map(finding => finding.kind)).toContain("image-layer-missing");
      await store.removeImage(image.id);
    });
    expect(readFileSync(join(root.path, "outside/diff/precious"), "utf8")).toBe("precious");
  });

  test("of a container whose layer is a path remove nothing outside", async () => {
    await filled();
    writeFileSync(
      join(place.root, "overlay-containers/containers.json"),
      JSON.stringify([
        { id: "c".repeat(64), names: ["c"], image: image.id, layer: "../../outside", created: "" },
      ]),
    );
    mkdirSync(join(root.path, "outside/diff"), { recursive: true });
    await withStore(async store => {
      await expect(store.mountContainer("c".repeat(64))).rejects.toMatchObject({
        code: "FAILED_PRECONDITION",
      });
      await store.removeContainer("c".repeat(64));
    });
    expect(existsSync(join(root.path, "outside/diff"))).toBe(true);
  });

  test("of a layer that stands on itself are named", async () => {
    await filled();
    const path = join(place.root, "overlay-layers/layers.json");
    const rows = JSON.parse(readFileSync(path, "utf8"));
    rows[0].parent = rows[1].id;
    writeFileSync(path, JSON.stringify(rows));
    await withStore(async store => {
      const { layerId } = await store.getImage(image.id);
      await expect(store.layerChain(layerId!)).rejects.toMatchObject({
        code: "DATA_LOSS",
        message: expect.stringContaining("its own ancestor"),
      });
    });
  });
});

describe("files of a layer", () => {
  test.each([
    ["lower", "../../../etc"],
    ["lower", "l/../../../etc"],
    ["lower", "/etc"],
  ])("%s that says %s is no way out", async (file, text) => {
    await filled();
    await withStore(async store => {
      const { layerId } = await store.getImage(image.id);
      writeFileSync(join(place.root, "overlay", layerId!, file), text);
      await expect(store.mountImage(image.id)).rejects.toMatchObject({ code: "DATA_LOSS" });
      await store.rebuildLinks();
      const mounted = await store.mountImage(image.id);
      expect(readdirSync(join(mounted.path, "data")).sort()).toEqual(["base", "top"]);
      await store.unmountImage(mounted);
    });
  });

  test("a tar-split is read without following what was put in a file's place", async () => {
    await filled();
    await withStore(async store => {
      const { layerId } = await store.getImage(image.id);
      const file = join(place.root, "overlay", layerId!, "diff/data/top");
      rmSync(file);
      symlinkSync("/etc/passwd", file);
      expect(await collect(store.check({ deep: true }))).toMatchObject([
        { kind: "layer-content-changed", item: "./data/top" },
      ]);
    });
  });
});

test.each(["storage.lock", "overlay-layers/layers.lock", "overlay-images/images.lock"])(
  "a directory in the place of %s is named and stays",
  async name => {
    await filled();
    const path = join(place.root, name);
    rmSync(path, { force: true });
    mkdirSync(path);
    await withStore(async store => {
      await expect(
        name === "storage.lock" ? store.mountImage(image.id) : store.removeImage(image.id),
      ).rejects.toThrow(path);
      expect(await store.listImages()).toHaveLength(1);
    });
    expect(readdirSync(path)).toEqual([]);
  },
);

test("of layers that are published together all are there, or none when one cannot be made", async () => {
  const layers = [base, smallBlob(root.path, "middle"), smallBlob(root.path, "top")];
  const { stack } = buildImage(layers);
  await withStore(async store => {
    const stagings = () => readdirSync(join(place.root, "overlay-layers/tmp")).filter(isStaging);
    await using staged = new AsyncDisposableStack();
    const stage = async ({ descriptor, path, diffId }: Blob) =>
      staged.use(await store.stageLayer({ descriptor, source: { kind: "file", path }, diffId }));
    const [first, second] = [await stage(layers[0]!), await stage(layers[1]!)];
    const before = stagings();
    const third = await stage(layers[2]!);
    const [own] = stagings().filter(name => !before.includes(name));
    const tarSplit = join(place.root, "overlay-layers/tmp", own!, "0-addition");
    renameSync(tarSplit, join(root.path, "away"));
    await expect(store.commitLayers([first, second, third], [])).rejects.toThrow(/ENOENT/);
    expect(await store.findLayer(stack.slice(0, 1))).toBeUndefined();
    expect(census(place.root)).toEqual({ records: [], directories: [], links: 0 });
    expect(await collect(store.check({ deep: true }))).toEqual([]);
  });
  await withStore(async store => {
    await using staged = new AsyncDisposableStack();
    const again = [];
    for (const { descriptor, path, diffId } of layers)
      again.push(staged.use(await store.stageLayer({ descriptor, source: { kind: "file", path }, diffId })));
    // Two of the three are there by then, which is success too.
    await store.commitLayers(again.slice(0, 2), []);
    const records = await store.commitLayers(again, []);
    expect(records.map(({ diffId }) => diffId)).toEqual(stack);
    expect((await store.layerChain(records[2]!.id)).map(({ diffId }) => diffId)).toEqual(stack.toReversed());
    expect(await collect(store.check({ deep: true }))).toEqual([]);
  });
});

function isStaging(name: string): boolean {
  return name.startsWith("temp-dir-");
}

describe("a disk", () => {
  let device: BlockDevice;

  beforeEach(() => {
    device = new BlockDevice(root.path);
    device.format();
    place = { root: join(device.mountPoint, "r"), runRoot: join(root.path, "rr") };
  });

  afterEach(() => {
    const open = readdirSync("/proc/self/fd").flatMap(fd => readlinkOf(`/proc/self/fd/${fd}`));
    expect(open.filter(path => path.startsWith(root.path))).toEqual([]);
    device.unmount();
  });

  /** A layer of files of ten kilobytes that differ. */
  function largeBlob(megabytes: number): Blob {
    const tree = join(root.path, "large");
    mkdirSync(tree);
    for (let at = 0; at < megabytes * 100; at++)
      writeFileSync(join(tree, `f${at}`), String(at).padEnd(10_240, "x"));
    return packBlob(join(root.path, "large.tar"), tree);
  }

  test("that is full fails the pull by name, keeps what was there, and is as empty as before", async () => {
    await filled();
    await withStore(async store => {
      const free = () => Number(execFileSync("stat", ["-f", "-c", "%f", place.root], { encoding: "utf8" }));
      const before = free();
      await expect(storeImage(store, "localhost/large:1", [base, largeBlob(80)])).rejects.toThrow(
        /ENOSPC|no space left/i,
      );
      await store.recover();
      expect(free()).toBeGreaterThanOrEqual(before - 32);
      expect(await collect(store.check({ deep: true }))).toEqual([]);
      expect((await store.listImages()).map(({ names }) => names)).toEqual([["localhost/box:1"]]);
    });
  });

  test("that fills up while records are written loses none of them", async () => {
    await filled();
    // Not a block is left; only what root may still take matters, and that is taken too.
    const filler = join(device.mountPoint, "filler");
    const fill = () => {
      for (const size of ["1M", "4K", "1K"])
        try {
          execFileSync("dd", ["if=/dev/zero", `of=${filler}`, `bs=${size}`, "oflag=append", "conv=notrunc"], {
            stdio: "ignore",
          });
        } catch {
          // Full.
        }
    };
    fill();
    await withStore(async store => {
      const failures: string[] = [];
      for (const id of ["1", "2", "3"])
        await store
          .createContainer({ id: id.repeat(64), name: id, imageId: image.id })
          .catch(error => failures.push((error as Error).message));
      expect(failures.length).toBeGreaterThan(0);
      for (const failure of failures) expect(failure).toMatch(/ENOSPC/);
      rmSync(filler);
      await store.recover();
      expect(await collect(store.check({ deep: true }))).toEqual([]);
      expect(await store.listImages()).toHaveLength(1);
      await store.createContainer({ id: "4".repeat(64), name: "four", imageId: image.id });
    });
  });

  test("that became read-only can be read, and refuses changes by name", async () => {
    await filled();
    execFileSync("mount", ["-o", "remount,ro", device.mountPoint]);
    await withStore(async store => {
      expect(await store.listImages()).toHaveLength(1);
      expect((await store.readImageData(image.id, "manifest")).byteLength).toBeGreaterThan(0);
      await expect(store.removeImage(image.id)).rejects.toThrow(/EROFS|read-only/i);
      await expect(
        storeImage(store, "localhost/more:1", [base, smallBlob(root.path, "more")]),
      ).rejects.toThrow(/EROFS|read-only/i);
    });
    execFileSync("mount", ["-o", "remount,rw", device.mountPoint]);
    expect(await withStore(store => collect(store.check({ deep: true })))).toEqual([]);
  });

  test("that has gone away fails everything with EIO, and all is there when it is back", async () => {
    await filled();
    device.restart();
    device.cutPower();
    await expect(
      withStore(store => storeImage(store, "localhost/more:1", [base, smallBlob(root.path, "more")])),
    ).rejects.toThrow(/EIO|i\/o error/i);
    device.restart();
    expect(await withStore(store => collect(store.check({ deep: true })))).toEqual([]);
    const { records, directories } = census(place.root);
    expect(directories).toEqual(records);
  });
});
