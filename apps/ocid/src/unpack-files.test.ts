import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { unpackFiles } from "./unpack-files.ts";

let directory: string;
let target: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "unpack-"));
  target = join(directory, "target");
  mkdirSync(target);
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

/** A tar file of what a script makes in an empty directory; the script may name what goes in. */
function tarOf(script: string): string {
  const work = join(directory, "work");
  mkdirSync(work);
  const tar = join(directory, "archive.tar");
  execFileSync("sh", ["-ec", script], { cwd: work, env: { ...process.env, OUT: tar } });
  return tar;
}

test("plain files come as they are, for their owner alone, those with holes and of several pieces too", async () => {
  const tar = tarOf(
    'mkdir sub; echo one > one; head -c 3000000 /dev/urandom > sub/large; truncate -s 100000 sparse; echo end >> sparse; tar -S -cf "$OUT" .',
  );
  await unpackFiles(tar, target, { maxBytes: 2 ** 24 });
  for (const name of ["one", "sub/large", "sparse"])
    expect(readFileSync(join(target, name)).equals(readFileSync(join(directory, "work", name))), name).toBe(
      true,
    );
  expect(statSync(join(target, "one")).mode & 0o777).toBe(0o600);
  expect(statSync(join(target, "sub")).mode & 0o777).toBe(0o700);
});

test.each([
  ["a symlink", 'ln -s /etc/passwd link; tar -cf "$OUT" link', "INVALID_ARGUMENT", "symlink"],
  ["a hard link", 'echo a > a; ln a b; tar -cf "$OUT" a b', "INVALID_ARGUMENT", "hardlink"],
  ["a fifo", 'mkfifo f; tar -cf "$OUT" f', "INVALID_ARGUMENT", "fifo"],
  [
    "a name that climbs",
    'echo a > a; tar -P --transform "s|a|../a|" -cf "$OUT" a',
    "INVALID_ARGUMENT",
    "climbs",
  ],
  ["a name twice", 'echo a > a; tar -cf "$OUT" a; tar -rf "$OUT" a', "ALREADY_EXISTS", "EEXIST"],
  ["more than the limit", 'head -c 200000 /dev/zero > a; tar -cf "$OUT" a', "RESOURCE_EXHAUSTED", "100000"],
  ["a hole beyond the limit", 'truncate -s 1G a; tar -S -cf "$OUT" a', "RESOURCE_EXHAUSTED", "100000"],
  ["no tar", 'head -c 5000 /dev/urandom > "$OUT"', "DATA_LOSS", ""],
])("%s is refused", async (_, script, code, message) => {
  await expect(unpackFiles(tarOf(script), target, { maxBytes: 100_000 })).rejects.toMatchObject({
    code,
    message: expect.stringContaining(message),
  });
  expect(readdirSync(directory).sort()).toEqual(["archive.tar", "target", "work"]);
});
