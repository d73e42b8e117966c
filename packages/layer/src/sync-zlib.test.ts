import { randomBytes } from "node:crypto";
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { HandleZlib } from "./handle-zlib.ts";
import { ThreadZlib } from "./thread-zlib.ts";
import type { ZlibKind, ZlibParts } from "./zlib-kinds.ts";

const buffer = new Uint8Array(64 * 1024);
const output = () => buffer;

// Larger than any buffer on the way, and not to be compressed much.
const text = Buffer.concat([randomBytes(700_000), Buffer.alloc(1_500_000, "abc")]);

function runThrough(zlib: ZlibParts, input: Uint8Array, chunkBytes = 100_000): Buffer {
  const pieces: Buffer[] = [];
  const take = (piece: Uint8Array) => void pieces.push(Buffer.from(piece));
  try {
    for (let at = 0; at < input.byteLength; at += chunkBytes)
      zlib.write(input.subarray(at, at + chunkBytes), take);
    zlib.finish(take);
  } finally {
    zlib.close();
  }
  return Buffer.concat(pieces);
}

describe.each([
  ["the handle of node:zlib", (kind: ZlibKind): ZlibParts => HandleZlib.open(kind, output)!],
  ["public streams in a thread", (kind: ZlibKind): ZlibParts => new ThreadZlib(kind, output)],
])("by %s", (_, open) => {
  test("gzip and zstd are inflated, several members too, and gzip is made", () => {
    expect(runThrough(open("gunzip"), gzipSync(text)).equals(text)).toBe(true);
    expect(runThrough(open("gunzip"), gzipSync("one"), 1).toString()).toBe("one");
    const members = Buffer.concat([gzipSync("one"), gzipSync("two")]);
    for (const chunkBytes of [1, 1000])
      expect(runThrough(open("gunzip"), members, chunkBytes).toString()).toBe("onetwo");
    expect(runThrough(open("unzstd"), zstdCompressSync(text)).equals(text)).toBe(true);
    expect(gunzipSync(runThrough(open("gzip"), text)).equals(text)).toBe(true);
  });

  test("damage, a cut end and bytes after the end are told", () => {
    const whole = gzipSync(text);
    const damaged = Buffer.from(whole);
    damaged.fill(0xff, 300_000, 300_100);
    for (const [input, message] of [
      [Buffer.from("no gzip at all"), "incorrect header check"],
      [damaged, ""],
      [whole.subarray(0, 500_000), "unexpected end of file"],
      [Buffer.concat([gzipSync("one"), Buffer.from("rest")]), "incorrect header check"],
      [Buffer.concat([gzipSync("one"), Buffer.alloc(4)]), "4 bytes after its end"],
    ] as const)
      expect(() => runThrough(open("gunzip"), input)).toThrow(
        expect.objectContaining({
          code: "DATA_LOSS",
          message: expect.stringContaining(`compressed data is damaged: ${message}`),
        }),
      );
  });
});
