import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createReadStream, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { getPriority } from "node:os";
import { join } from "node:path";
import { createLayerPool, rebuildTar } from "@ocid/layer";
import { type DiffId, digestBytes } from "@ocid/spec";
import { tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

// A layer of 4 MiB and more that is alone is unpacked by a thread of its own.
const root = tempRoot("two-threads-");
const pool = createLayerPool({ threads: 1 });
const content = randomBytes(9_000_000);
const good = join(root.path, "good.tar");
const climbing = join(root.path, "climbing.tar");

beforeAll(() => {
  const source = join(root.path, "source");
  mkdirSync(join(source, "a/b"), { recursive: true });
  writeFileSync(join(source, "a/big"), content);
  for (let at = 0; at < 500; at++) writeFileSync(join(source, `a/b/${at}`), String(at));
  const names = ["a/big", "a/b"];
  execFileSync("tar", ["-cf", good, "-C", source, ...names]);
  execFileSync("tar", ["-cf", climbing, "-P", "--transform=s,^a/b/7$,../../out,", "-C", source, ...names]);
});

afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  root.remove();
});

let count = 0;

function request(path: string) {
  const bytes = readFileSync(path);
  const directory = join(root.path, `to-${count++}`);
  mkdirSync(directory);
  const tarSplitPath = `${directory}.split`;
  return {
    source: { kind: "file", path } as const,
    digest: digestBytes(bytes),
    size: bytes.byteLength,
    directory,
    tarSplitPath,
  };
}

describe("a layer that is unpacked by a second thread", () => {
  test("is the same, and rebuilt bit for bit", async () => {
    for (let round = 0; round < 2; round++) {
      const wanted = request(good);
      const applied = await pool.apply(wanted);
      expect(applied).toMatchObject({ diffId: wanted.digest, diffSize: wanted.size, entries: 502 });
      expect(readFileSync(join(wanted.directory, "a/big")).equals(content)).toBe(true);
      expect(readFileSync(join(wanted.directory, "a/b/499"), "utf8")).toBe("499");
      const chunks: Uint8Array[] = [];
      const openFile = (name: string | Buffer) => createReadStream(join(wanted.directory, String(name)));
      for await (const chunk of rebuildTar({ tarSplitPath: wanted.tarSplitPath, openFile }))
        chunks.push(Buffer.from(chunk));
      expect(digestBytes(Buffer.concat(chunks))).toBe(wanted.digest);
    }
  });

  test("is refused for what the other thread found, and the next one is not", async () => {
    await expect(pool.apply(request(climbing))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      reason: "PathEscape",
    });
    const zeros = digestBytes(Buffer.alloc(1));
    await expect(pool.apply({ ...request(good), diffId: zeros as DiffId })).rejects.toMatchObject({
      reason: "DiffIdMismatch",
    });
    await expect(pool.apply({ ...request(good), digest: zeros })).rejects.toMatchObject({
      reason: "DigestMismatch",
    });
    await expect(pool.apply({ ...request(good), maxBytes: 5_000_000 })).rejects.toMatchObject({
      code: "RESOURCE_EXHAUSTED",
    });
    await expect(pool.apply({ ...request(good), directory: "/nowhere/at/all" })).rejects.toThrow(/ENOENT/);
    expect((await pool.apply(request(good))).entries).toBe(502);
  });

  test("is not written to any more once its being given up is known", async () => {
    const wanted = request(good);
    const stop = new AbortController();
    const open = async function* () {
      yield readFileSync(good).subarray(0, 4_500_000);
      stop.abort(new Error("enough"));
      await new Promise(() => {});
    };
    const applying = pool.apply({ ...wanted, source: { kind: "stream", open }, signal: stop.signal });
    await expect(applying).rejects.toThrow("enough");
    const before = readdirSync(wanted.directory, { recursive: true });
    await expect(pool.apply(request(good))).resolves.toMatchObject({ entries: 502 });
    expect(readdirSync(wanted.directory, { recursive: true })).toEqual(before);
  });
});

test("the threads of a nice pool, and those that they start, stand back; the others do not", async () => {
  await using nice = createLayerPool({ threads: 1, niceness: 3 });
  const before = niceThreads();
  await nice.apply(request(good));
  const own = getPriority(process.pid);
  const after = niceThreads();
  const more =
    after.filter(value => value === own + 3).length - before.filter(value => value === own + 3).length;
  expect(more).toBeGreaterThanOrEqual(2);
  expect(getPriority(process.pid)).toBe(own);
});

/** The nice values of all threads (proc(5), `/proc/pid/stat`, field 19). */
function niceThreads(): readonly number[] {
  return readdirSync("/proc/self/task").map(tid => {
    const stat = readFileSync(`/proc/self/task/${tid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16]);
  });
}
