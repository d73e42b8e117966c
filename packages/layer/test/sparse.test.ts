import { execFileSync } from "node:child_process";
import { mkdirSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createLayerPool } from "@ocid/layer";
import { digestBytes } from "@ocid/spec";
import { tempRoot } from "@ocid/testkit";
import { afterAll, describe, expect, test } from "vitest";

const root = tempRoot("sparse-");
const pool = createLayerPool({ threads: 1 });
let count = 0;

afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  root.remove();
});

/** A tar of a file that begins and ends with a word, with a hole of so many bytes between. */
function archive(bytes: number, options: readonly string[]): Buffer {
  const source = join(root.path, `source-${++count}`);
  mkdirSync(source);
  const file = join(source, "holes");
  writeFileSync(file, "begin");
  truncateSync(file, bytes);
  writeFileSync(file, "end", { flag: "a" });
  return execFileSync("tar", ["-c", "--sparse", ...options, "-C", source, "holes"]);
}

async function apply(blob: Buffer) {
  const directory = join(root.path, `layer-${++count}`);
  const path = join(root.path, "blob");
  mkdirSync(directory);
  writeFileSync(path, blob);
  await pool.apply({
    source: { kind: "file", path },
    digest: digestBytes(blob),
    size: blob.byteLength,
    directory,
  });
  return join(directory, "holes");
}

describe.each([
  ["GNU's old format", ["--format=gnu"]],
  ["pax 0.0", ["--format=pax", "--sparse-version=0.0"]],
  ["pax 0.1", ["--format=pax", "--sparse-version=0.1"]],
  ["pax 1.0", ["--format=pax", "--sparse-version=1.0"]],
])("%s", (_, options) => {
  const gibibyte = 1024 ** 3;

  test("a hole of a tebibyte in ten kilobytes is refused", async () => {
    const blob = archive(1024 * gibibyte, options);
    expect(blob.byteLength).toBeLessThanOrEqual(20_480);
    await expect(apply(blob)).rejects.toMatchObject({
      code: "RESOURCE_EXHAUSTED",
      message: expect.stringMatching(/unpacks to more than \d+ bytes/),
    });
  });

  test("a hole of ten gibibytes stays a hole", async () => {
    const file = await apply(archive(10 * gibibyte, options));
    const { size, blocks } = statSync(file);
    expect(size).toBe(10 * gibibyte + 3);
    expect(blocks * 512).toBeLessThan(1024 * 1024);
    const ends = execFileSync("sh", ["-c", `head -c 6 "$0"; tail -c 4 "$0"`, file]);
    expect(ends.toString()).toBe("begin\0\0end");
  });
});
