import { existsSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { removeTree } from "@ocid/host";
import { tempRoot } from "@ocid/testkit";
import { afterAll, expect, test } from "vitest";

const root = tempRoot("remove-tree-");
afterAll(() => root.remove());

function tree(name: string, files: number, bytes: number): string {
  const top = join(root.path, name);
  const outside = join(root.path, "outside");
  mkdirSync(join(top, "a/b"), { recursive: true });
  writeFileSync(outside, "stays");
  symlinkSync(outside, join(top, "a/link"));
  for (let at = 0; at < files; at++) writeFileSync(join(top, "a/b", `f${at}`), "");
  writeFileSync(Buffer.concat([Buffer.from(`${top}/a/`), Buffer.from([0xe9])]), "");
  truncateSync(join(top, "a/b/f0"), bytes);
  return top;
}

test.each([
  ["small", 10, 1000],
  ["of many files", 200, 0],
  ["with a large file", 2, 64 * 1024 * 1024],
])("a tree that is %s goes, and what its links name stays", async (name, files, bytes) => {
  const top = tree(name, files, bytes);
  await removeTree(top);
  expect(existsSync(top)).toBe(false);
  expect(existsSync(join(root.path, "outside"))).toBe(true);
});

test("a file goes too, and what is not there is no error", async () => {
  const file = join(root.path, "file");
  writeFileSync(file, "x");
  await removeTree(file);
  expect(existsSync(file)).toBe(false);
  await removeTree(file);
});
