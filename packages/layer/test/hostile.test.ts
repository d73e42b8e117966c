import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip, createZstdCompress, gzipSync } from "node:zlib";
import { createLayerPool } from "@ocid/layer";
import { makeLargeLayer } from "@ocid/registry/testing";
import { type DiffId, digestBytes } from "@ocid/spec";
import { tempRoot } from "@ocid/testkit";
import { type Header, pack } from "tar-stream";
import { afterAll, describe, expect, test } from "vitest";

const root = tempRoot("hostile-");
const pool = createLayerPool({ threads: 1 });
let count = 0;

afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  root.remove();
});

async function archive(
  entries: readonly (Partial<Header> & { name: string; content?: string })[],
): Promise<Buffer> {
  const tar = pack();
  for (const { content, ...header } of entries)
    tar.entry({ mtime: new Date(0), ...header } as Header, content ?? "");
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function apply(
  blob: Uint8Array,
  more: {
    digest?: ReturnType<typeof digestBytes>;
    size?: number;
    diffId?: DiffId;
    maxBytes?: number;
    maxEntries?: number;
  } = {},
) {
  const directory = join(root.path, `layer-${++count}`);
  mkdirSync(directory);
  const path = join(root.path, "blob");
  writeFileSync(path, blob);
  const result = pool.apply({
    source: { kind: "file", path },
    digest: digestBytes(blob),
    size: blob.byteLength,
    directory,
    ...more,
  });
  return { directory, result };
}

describe("an archive cannot reach outside of its root", () => {
  const outside = join(root.path, "outside");
  mkdirSync(outside);

  test.each([
    ["a climbing name", [{ name: "../outside/evil", content: "x" }]],
    ["a climbing name in the middle", [{ name: "a/../../outside/evil", content: "x" }]],
    ["a whiteout of the parent", [{ name: "a/.wh..." }]],
    ["a whiteout of the directory itself", [{ name: "a/.wh.." }]],
    ["a hard link to the outside", [{ name: "l", type: "link" as const, linkname: "../outside/kept" }]],
    [
      "a hard link through a symlink",
      [
        { name: "out", type: "symlink" as const, linkname: "../outside" },
        { name: "l", type: "link" as const, linkname: "out/kept" },
      ],
    ],
  ])("%s is refused", async (_name, entries) => {
    writeFileSync(join(outside, "kept"), "kept");
    const { result } = await apply(await archive(entries));
    await expect(result).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(readdirSync(outside)).toEqual(["kept"]);
  });

  test.each(["../outside", outside, "../../../../../../../../../../.."])(
    "writing through a symlink to %s stays inside or is refused",
    async target => {
      writeFileSync(join(outside, "kept"), "kept");
      const { result } = await apply(
        await archive([
          { name: "link", type: "symlink", linkname: target },
          { name: "link/evil-of-layer", content: "x" },
        ]),
      );
      await result.catch(error => expect(error).toMatchObject({ code: "INVALID_ARGUMENT" }));
      expect(readdirSync(outside)).toEqual(["kept"]);
      expect(existsSync("/evil-of-layer")).toBe(false);
    },
  );

  test("a symlink swapped in for a directory is not followed", async () => {
    const { result, directory } = await apply(
      await archive([
        { name: "d/x", content: "1" },
        { name: "d2", type: "symlink", linkname: outside },
        { name: "d2/.wh.kept" },
      ]),
    );
    await result.catch(() => {});
    expect(readFileSync(join(outside, "kept"), "utf8")).toBe("kept");
    expect(existsSync(join(directory, "d/x"))).toBe(true);
  });

  test("an absolute name lands inside", async () => {
    const { result, directory } = await apply(await archive([{ name: "/etc/evil-of-layer", content: "x" }]));
    await result;
    expect(readFileSync(join(directory, "etc/evil-of-layer"), "utf8")).toBe("x");
    expect(existsSync("/etc/evil-of-layer")).toBe(false);
  });

  test.each([
    [
      "two links that lead to each other",
      [
        { name: "a", type: "symlink" as const, linkname: "b" },
        { name: "b", type: "symlink" as const, linkname: "a" },
        { name: "a/x", content: "x" },
      ],
    ],
    [
      "a link over a link to the outside",
      [
        { name: "a", type: "symlink" as const, linkname: outside },
        { name: "b", type: "symlink" as const, linkname: "a" },
        { name: "b/evil-of-layer", content: "x" },
      ],
    ],
    [
      "a hard link to a link to the outside",
      [
        { name: "a", type: "symlink" as const, linkname: outside },
        { name: "b", type: "link" as const, linkname: "a" },
        { name: "b/evil-of-layer", content: "x" },
      ],
    ],
    ["a hard link to itself", [{ name: "a", type: "link" as const, linkname: "a" }]],
    ["a hard link to a directory", [{ name: "a", type: "link" as const, linkname: "." }]],
    [
      "a file below a file",
      [
        { name: "a", content: "x" },
        { name: "a/b", content: "x" },
      ],
    ],
  ])("%s is refused", async (_name, entries) => {
    writeFileSync(join(outside, "kept"), "kept");
    const { result } = await apply(await archive(entries));
    await expect(result).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(readdirSync(outside)).toEqual(["kept"]);
  });

  test("a symlink within the layer is followed", async () => {
    const { result, directory } = await apply(
      await archive([
        { name: "usr/lib", type: "directory" },
        { name: "lib", type: "symlink", linkname: "usr/lib" },
        { name: "lib/so", content: "x" },
      ]),
    );
    await result;
    expect(readFileSync(join(directory, "usr/lib/so"), "utf8")).toBe("x");
  });
});

describe("bytes that are not what was promised", () => {
  test("wrong digest", async () => {
    const { result } = await apply(await archive([{ name: "a" }]), { digest: digestBytes("other") });
    await expect(result).rejects.toMatchObject({ code: "DATA_LOSS", reason: "DigestMismatch" });
  });

  test("wrong diffID", async () => {
    const { result } = await apply(await archive([{ name: "a" }]), {
      diffId: digestBytes("other") as DiffId,
    });
    await expect(result).rejects.toMatchObject({ code: "DATA_LOSS", reason: "DiffIdMismatch" });
  });

  test("too short", async () => {
    const { result } = await apply(await archive([{ name: "a" }]), { size: 100_000 });
    await expect(result).rejects.toMatchObject({ code: "DATA_LOSS", reason: "SizeMismatch" });
  });

  test("an archive that ends within an entry", async () => {
    const whole = await archive([{ name: "a", content: "x".repeat(2000) }]);
    const { result } = await apply(whole.subarray(0, 1024));
    await expect(result).rejects.toMatchObject({
      code: "DATA_LOSS",
      message: expect.stringContaining("cut short"),
    });
  });

  test("damaged gzip", async () => {
    const blob = gzipSync(await archive([{ name: "a", content: "x".repeat(5000) }]));
    blob[blob.length >> 1]! ^= 0xff;
    const { result } = await apply(blob);
    await expect(result).rejects.toMatchObject({ code: "DATA_LOSS" });
  });

  test("gzip cut short", async () => {
    const blob = gzipSync(await archive([{ name: "a", content: "x".repeat(5000) }]));
    const { result } = await apply(blob.subarray(0, blob.length - 9));
    await expect(result).rejects.toMatchObject({ code: "DATA_LOSS" });
  });

  test("no archive at all", async () => {
    const { result } = await apply(Buffer.alloc(4096, "A"));
    await expect(result).rejects.toMatchObject({ code: "DATA_LOSS" });
  });

  test("xz is named", async () => {
    const { result } = await apply(execFileSync("xz", { input: await archive([{ name: "a" }]) }));
    await expect(result).rejects.toMatchObject({
      code: "UNIMPLEMENTED",
      message: expect.stringContaining("xz"),
    });
  });
});

describe("too much", () => {
  // A gigabyte of zeros in one file, from a blob of a megabyte or less.
  const bomb = makeLargeLayer(1_000_000_000, { zeros: true });
  const bombTar = function* () {
    for (let at = 0; at < bomb.size; at += 1 << 20) yield bomb.read(at, Math.min(bomb.size, at + (1 << 20)));
  };

  test.each([
    ["gzip", () => createGzip({ level: 9 })],
    ["zstd", () => createZstdCompress()],
  ])("a %s bomb stops at the limit, in bounded memory", async (_, create) => {
    const chunks: Buffer[] = [];
    await pipeline(Readable.from(bombTar()), create(), async compressed => {
      for await (const chunk of compressed) chunks.push(chunk as Buffer);
    });
    const blob = Buffer.concat(chunks);
    expect(blob.byteLength).toBeLessThan(1_100_000);
    const before = process.memoryUsage.rss();
    const { result, directory } = await apply(blob, { maxBytes: 100_000_000 });
    await expect(result).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
    expect(process.memoryUsage.rss() - before).toBeLessThan(150 * 1024 * 1024);
    expect(statSync(join(directory, "large")).size).toBeLessThan(101_000_000);
  });

  test("a zstd frame that asks for two gigabytes of window is refused", async () => {
    // Magic number, a frame header with a window of 2^31 bytes, and one empty last block (RFC 8878, 3.1.1).
    const { result } = await apply(Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00]));
    await expect(result).rejects.toMatchObject({ code: "DATA_LOSS" });
  });

  test("too many entries", async () => {
    const { result } = await apply(
      await archive(Array.from({ length: 20 }, (_, at) => ({ name: `f${at}` }))),
      { maxEntries: 10 },
    );
    await expect(result).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
  });

  test("two entries of one name", async () => {
    const { result } = await apply(
      await archive([
        { name: "a", content: "1" },
        { name: "./a", content: "2" },
      ]),
    );
    await expect(result).rejects.toMatchObject({ code: "INVALID_ARGUMENT", reason: "DuplicateEntry" });
  });

  test.each([
    ["short parts", "ab/".repeat(1400)],
    ["parts as long as may be", `${"n".repeat(255)}/`.repeat(17)],
    ["more levels than may be", "a/".repeat(1500)],
  ])("a path of more than 4096 characters is refused: %s", async (_, path) => {
    const { result } = await apply(await archive([{ name: "x", pax: { path: `${path}x` } }]));
    await expect(result).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("a name of 5000 characters names itself in the error", async () => {
    const { result } = await apply(
      await archive([{ name: "n".repeat(5000), pax: { path: "n".repeat(5000) } }]),
    );
    await expect(result).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("nnnn"),
    });
  });
});
