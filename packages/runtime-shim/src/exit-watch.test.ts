import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ShimFiles } from "./container-files.ts";
import { ExitWatch } from "./exit-watch.ts";
import { OomKills } from "./oom-kills.ts";

test("an end is told once it has its name, also one that was there before; what was never renamed is none", async () => {
  using root = tempDirectory();
  const files = new ShimFiles(root.path);
  for (const id of ["c1", "c2", "c3"]) mkdirSync(join(files.containers, id), { recursive: true });
  mkdirSync(files.exits);
  writeFileSync(join(files.exits, "c1"), "1");
  writeFileSync(join(files.exits, "c3.Q3RGZ3"), "3");
  using watch = new ExitWatch(files, new OomKills(files));
  const ended = new AbortController();
  const told: [string, number][] = [];
  const all = (async () => {
    for await (const { id, exitCode } of watch.events(ended.signal)) told.push([id, exitCode]);
  })();
  writeFileSync(join(files.exits, "c2.ZGR3Q3"), "2");
  // Time for the kernel to tell of the name that will not stay.
  await new Promise(resolve => setTimeout(resolve, 20));
  renameSync(join(files.exits, "c2.ZGR3Q3"), join(files.exits, "c2"));
  await expect.poll(() => told.length, { timeout: 10_000 }).toBe(2);
  expect(await watch.wait("c3", 0)).toBeUndefined();
  ended.abort();
  await all;
  expect(told).toEqual([
    ["c1", 1],
    ["c2", 2],
  ]);
});

function tempDirectory(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "exit-watch-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}
