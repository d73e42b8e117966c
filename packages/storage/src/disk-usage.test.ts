import { linkSync, lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { diskUsage } from "./disk-usage.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "ocid-usage-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const bytesOf = (...names: readonly string[]) =>
  names.reduce((sum, name) => sum + lstatSync(join(directory, name)).blocks * 512, 0);

test("a few files and many are counted alike: what lies below, hard links once", async () => {
  expect(await diskUsage(directory)).toEqual({ bytes: 0, inodes: 0 });
  mkdirSync(join(directory, "a/b"), { recursive: true });
  writeFileSync(join(directory, "a/b/file"), "x".repeat(10_000));
  writeFileSync(Buffer.from(`${directory}/caf\xe9`, "latin1"), "");
  const few = { bytes: bytesOf("a", "a/b", "a/b/file"), inodes: 4 };
  expect(await diskUsage(directory)).toEqual(few);
  linkSync(join(directory, "a/b/file"), join(directory, "again"));
  expect(await diskUsage(directory)).toEqual(few);
  const more = Array.from({ length: 100 }, (_, at) => `f${at}`);
  for (const name of more) writeFileSync(join(directory, name), "y");
  expect(await diskUsage(directory)).toEqual({ bytes: few.bytes + bytesOf(...more), inodes: 104 });
});

test("what is not there takes no space", async () => {
  expect(await diskUsage(join(directory, "none"))).toEqual({ bytes: 0, inodes: 0 });
});
