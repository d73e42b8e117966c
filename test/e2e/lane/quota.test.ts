import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, statfsSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { assignProject, readProject, readProjectQuota } from "@ocid/host";
import { openStore, type Store } from "@ocid/storage";
import { tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { smallBlob, storeImage } from "../../../packages/storage/test/store-fixture.ts";
import { eventually } from "../src/daemon-under-test.ts";

// Quotas need a kernel that has them, which Debian's is.
const root = tempRoot("quota-");
const megabyte = 1024 * 1024;

afterAll(() => root.remove());

describe.each([
  ["xfs", 320, ["mkfs.xfs", "-q", "-f"]],
  ["ext4", 64, ["mkfs.ext4", "-q", "-F", "-O", "project,quota", "-E", "quotatype=prjquota"]],
])("on %s", (name, megabytes, [program = "", ...args]) => {
  const device = join(root.path, `${name}.img`);
  const at = join(root.path, name);
  const mountAt = (option: string) => execFileSync("mount", ["-o", `loop,${option}`, device, at]);
  /** As a crash of the machine leaves it. */
  const unmount = () => execFileSync("umount", ["--recursive", at]);
  const directoryOf = (layerId: string) => join(at, "r/overlay", layerId);
  const open = (limits = true) =>
    openStore({
      root: join(at, "r"),
      runRoot: join(root.path, `${name}-run`),
      quota: limits ? { bytes: 8 * megabyte, inodes: 100 } : undefined,
    });
  let store: Store;
  let imageId: string;

  async function create(letter: string) {
    const { id, layerId } = await store.createContainer({ id: letter.repeat(64), name: letter, imageId });
    const { path } = await store.mountContainer(id);
    return { id, path, layerId, project: readProject(directoryOf(layerId)) };
  }
  const fill = (path: string, bytes: number) => writeFileSync(path, Buffer.alloc(bytes, 1), { flush: true });
  // ENOSPC of xfs, EDQUOT of ext4, which Node has no name for.
  const refusal = expect.objectContaining({ errno: name === "xfs" ? -28 : -122 });

  /** xfs counts inodes that have gone a moment longer. */
  const isFree = (project: number) =>
    eventually(`project ${project} has no limit and uses nothing`, () =>
      Object.values(readProjectQuota(at, project)).every(value => value === 0),
    );

  beforeAll(async () => {
    writeFileSync(device, "");
    truncateSync(device, megabytes * megabyte);
    execFileSync(program, [...args, device]);
    mkdirSync(at);
    mountAt("prjquota");
    store = await open();
    imageId = (await storeImage(store, "localhost/q:1", [smallBlob(root.path, name)])).id;
  });

  afterAll(async () => {
    await store[Symbol.asyncDispose]();
    unmount();
  });

  test("a container cannot write more than the limit, and others go on", async () => {
    const first = await create("a");
    const second = await create("b");
    expect(first.project).not.toBe(second.project);
    expect(() => fill(join(first.path, "much"), 9 * megabyte)).toThrow(refusal);
    fill(join(second.path, "some"), 4 * megabyte);
    expect(await store.containerUsage(second.id)).toMatchObject({
      bytes: expect.closeTo(4 * megabyte, -5),
      inodes: expect.any(Number),
    });
    expect(readProjectQuota(directoryOf(first.layerId), first.project)).toMatchObject({
      limitBytes: 8 * megabyte,
      limitInodes: 100,
    });
    const { bsize, blocks } = statfsSync(second.path);
    expect(blocks * bsize).toBe(8 * megabyte);
  });

  test("a container cannot make more files than the limit", async () => {
    const { path, id } = await create("c");
    const make = () => {
      for (let count = 0; count < 100; count++) writeFileSync(join(path, `file-${count}`), "");
    };
    expect(make).toThrow(refusal);
    await store.removeContainer(id);
  });

  test("the limit outlives the process that set it, and the mount", async () => {
    await store[Symbol.asyncDispose]();
    unmount();
    mountAt("prjquota");
    store = await open(false);
    const { path } = await store.mountContainer("b".repeat(64));
    expect(() => fill(join(path, "more"), 5 * megabyte)).toThrow(refusal);
    await store[Symbol.asyncDispose]();
    store = await open();
  });

  test("removing a container takes its limit away with it", async () => {
    const before = (await store.findContainer("a".repeat(64)))!;
    const project = readProject(directoryOf(before.layerId));
    await store.removeContainer(before.id);
    await isFree(project);
  });

  test("so does clearing up after a process that was killed meanwhile", async () => {
    const { layerId, project, id } = await create("d");
    await store.unmountContainer(id);
    const file = join(at, "r/overlay-layers/layers.json");
    const rows = JSON.parse(readFileSync(file, "utf8")) as { id: string; flags?: object }[];
    writeFileSync(
      file,
      JSON.stringify(rows.map(row => (row.id === layerId ? { ...row, flags: { incomplete: true } } : row))),
    );
    await store.recover();
    await isFree(project);
    await store.removeContainer(id);
  });

  test("projects that others have given stay as they are", async () => {
    const other = join(at, "other");
    mkdirSync(other);
    assignProject(other, 4711);
    writeFileSync(join(other, "file"), "");
    const { id, project } = await create("e");
    expect(project).toBeGreaterThanOrEqual(2 ** 31);
    await store.removeContainer(id);
    expect(readProjectQuota(at, 4711).inodes).toBe(2);
  });

  test("without the mount option a limit is refused, and what was limited can be removed", async () => {
    await store.unmountContainer("b".repeat(64));
    await store[Symbol.asyncDispose]();
    unmount();
    mountAt("noquota");
    await expect(open()).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringMatching(new RegExp(`${name} of /dev/loop\\d+ on .*prjquota`)),
    });
    store = await open(false);
    expect((await store.containerUsage("b".repeat(64))).bytes).toBeGreaterThan(4 * megabyte - 1);
    await store.removeContainer("b".repeat(64));
    expect(await store.listContainers()).toEqual([]);
  });
});
