import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { layoutOf } from "./layout.ts";
import { openStaging, sweepStaging } from "./staging.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "staging-"));
});

afterEach(() => rmSync(root, { recursive: true }));

test("staging in use is left alone, and leaves nothing when it is given back", async () => {
  const layout = layoutOf(root, root);
  {
    await using staging = openStaging(layout.contentStaging);
    writeFileSync(join(staging.path, "file"), "x");
    expect(await sweepStaging(layout)).toBe(0);
    expect(existsSync(join(staging.path, "file"))).toBe(true);
  }
  expect(readdirSync(layout.contentStaging)).toEqual([]);
});

test("what the dead have left is swept: theirs, ours, and a directory that has lost its lock", async () => {
  const layout = layoutOf(root, root);
  mkdirSync(join(layout.contentStaging, "temp-dir-1/0-addition/deep"), { recursive: true });
  writeFileSync(join(layout.contentStaging, "lock-1"), "");
  mkdirSync(join(layout.metadataStaging, "temp-dir-2"), { recursive: true });
  writeFileSync(join(layout.contentStaging, "lock-3"), "");
  utimesSync(join(layout.contentStaging, "lock-3"), 0, 0);
  mkdirSync(join(layout.contentStaging, "other"));
  expect(await sweepStaging(layout)).toBe(2);
  expect(readdirSync(layout.contentStaging)).toEqual(["other"]);
  expect(readdirSync(layout.metadataStaging)).toEqual([]);
});
