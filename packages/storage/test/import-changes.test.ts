import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openStore, type Store } from "@ocid/storage";
import { tempRoot } from "@ocid/testkit";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { packBlob, storeImage } from "./store-fixture.ts";

const root = tempRoot("import-");
const from = "a".repeat(64);
const to = "b".repeat(64);
let store: Store;
let imageId: string;

beforeAll(async () => {
  store = await openStore({ root: join(root.path, "r"), runRoot: join(root.path, "rr") });
  const tree = join(root.path, "tree");
  for (const name of ["gone", "replaced", "kept"]) {
    mkdirSync(join(tree, "srv", name), { recursive: true });
    writeFileSync(join(tree, "srv", name, "old"), name);
  }
  writeFileSync(join(tree, "srv/file"), "before");
  mkdirSync(join(tree, "tmp"));
  chmodSync(join(tree, "tmp"), 0o1777);
  symlinkSync("srv", join(tree, "alias"));
  symlinkSync("/", join(tree, "out"));
  imageId = (await storeImage(store, "localhost/tree:1", [packBlob(join(root.path, "tree.tar"), tree)])).id;
});

afterEach(async () => {
  for (const id of [from, to]) await store.removeContainer(id);
});

afterAll(async () => {
  await store[Symbol.asyncDispose]();
  root.remove();
});

async function mounted(id: string): Promise<string> {
  await store.createContainer({ id, name: `c-${id.slice(0, 8)}`, imageId });
  return (await store.mountContainer(id)).path;
}

async function changesOf(id: string): Promise<readonly string[]> {
  const list: string[] = [];
  for await (const { kind, path } of store.containerChanges(id)) list.push(`${kind} ${path}`);
  return list;
}

/** A tar file of what a script makes in an empty directory. */
function tarOf(name: string, script: string): string {
  const work = join(root.path, name);
  mkdirSync(work);
  const tar = join(root.path, `${name}.tar`);
  execFileSync("sh", ["-ec", script], { cwd: work, env: { ...process.env, OUT: tar } });
  return tar;
}

test("what one container has changed, another one has afterwards", async () => {
  const path = await mounted(from);
  writeFileSync(join(path, "srv/file"), "after");
  rmSync(join(path, "srv/gone"), { recursive: true });
  rmSync(join(path, "srv/replaced"), { recursive: true });
  writeFileSync(join(path, "srv/replaced"), "a file now");
  writeFileSync(join(path, "srv/kept/more"), "more");
  const tar = join(root.path, "diff.tar");
  await writeFile(tar, store.openContainerDiff(from, { withoutRemoved: true }));
  const changes = await changesOf(from);
  const removed = changes.filter(line => line.startsWith("removed ")).map(line => line.slice(8));
  const other = await mounted(to);
  await store.importContainerChanges(to, { tar, removed });
  expect(await changesOf(to)).toEqual(changes);
  expect(readFileSync(join(other, "srv/replaced"), "utf8")).toBe("a file now");
});

test("directories that the tar does not name stay as the image has them; symlinks are followed inside", async () => {
  const path = await mounted(to);
  const tar = tarOf("deep", 'mkdir tmp alias; touch tmp/deep alias/new; tar -cf "$OUT" tmp/deep alias/new');
  await store.importContainerChanges(to, { tar, removed: ["/alias/file", "/no/such", "/srv/file/below"] });
  expect(statSync(join(path, "tmp")).mode & 0o7777).toBe(0o1777);
  expect(readdirSync(join(path, "srv")).sort()).toEqual(["gone", "kept", "new", "replaced"]);
});

test("nothing outside of the root file system is removed or written, whatever leads there", async () => {
  const aside = join(root.path, "aside");
  mkdirSync(aside);
  writeFileSync(join(aside, "kept"), "kept");
  await mounted(to);
  const tar = tarOf(
    "through",
    'mkdir -p out/escaped; touch out/escaped/file; tar -cf "$OUT" out/escaped/file',
  );
  await store.importContainerChanges(to, { tar, removed: [`/out${aside}/kept`, `/out/..${aside}/kept`] });
  expect(readdirSync(aside)).toEqual(["kept"]);
  expect(existsSync("/escaped")).toBe(false);
});

test.each(["relative", "/", "/srv/..", "/srv/.", "/a\0b"])(
  "%j is no path of a removed file",
  async removed => {
    await mounted(to);
    await expect(store.importContainerChanges(to, { removed: [removed] })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      reason: "PathEscape",
    });
  },
);

test("what would hide files by a layer's marks, or is more than the limit, is refused", async () => {
  await mounted(to);
  const marks = tarOf("marks", 'touch .wh.srv; tar -cf "$OUT" .wh.srv');
  await expect(store.importContainerChanges(to, { tar: marks, removed: [] })).rejects.toThrow(".wh.srv");
  const large = tarOf("large", 'head -c 100000 /dev/zero > zeros; tar -cf "$OUT" zeros');
  await expect(
    store.importContainerChanges(to, { tar: large, removed: [], maxBytes: 50_000 }),
  ).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
});

test("a container that is not mounted cannot take any", async () => {
  await store.createContainer({ id: to, name: "unmounted", imageId });
  await expect(store.importContainerChanges(to, { removed: [] })).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
  });
});
