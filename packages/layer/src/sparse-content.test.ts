import { describe, expect, test } from "vitest";
import { SparseContent } from "./sparse-content.ts";

function read(size: number, bytes: Buffer, pieceBytes = bytes.byteLength): (readonly [number, string])[] {
  const written: (readonly [number, string])[] = [];
  const content = new SparseContent({ size, parts: undefined }, (piece, position) =>
    written.push([position, Buffer.from(piece).toString()]),
  );
  for (let at = 0; at < bytes.byteLength; at += pieceBytes) content.add(bytes.subarray(at, at + pieceBytes));
  content.end();
  return written;
}

const withMap = (map: string, content = "") =>
  Buffer.concat([Buffer.from(map), Buffer.alloc((512 - (map.length % 512)) % 512), Buffer.from(content)]);

describe("a map before the content", () => {
  const parts = Array.from({ length: 120 }, (_, at) => [at * 1000, 1] as const);
  const map = `${parts.length}\n${parts.map(([at, length]) => `${at}\n${length}\n`).join("")}`;
  const whole = withMap(map, "x".repeat(parts.length));

  test.each([1, 7, 511, 512, 513, 1024, 100_000])("is read in pieces of %d bytes", pieceBytes => {
    expect(read(200_000, whole, pieceBytes)).toEqual(parts.map(([at]) => [at, "x"]));
  });

  test.each([
    ["2\n0\n1\n5\n1\n", "a", /less content/],
    ["2\n0\n0\n5\n3\n", "ab", /less content/],
    ["1\n0\n1\n", "ab", /more content/],
    ["2\n5\n5\n8\n1\n", "abcdef", /overlap/],
    ["1\n99\n5\n", "abcde", /lie outside/],
    ["1\n-5\n5\n", "abcde", /cannot be read/],
    ["1\n\n5\n", "abcde", /cannot be read/],
    ["1\n12345678901234567890\n5\n", "abcde", /cannot be read/],
    ["1".repeat(5000), "", /cannot be read/],
    ["999999999999999\n", "0\n".repeat(600_000), /cannot be read|too many parts/],
    [`600000\n${"0\n".repeat(600_000)}`, "", /too many parts/],
  ])("is refused when wrong: %#", (text, content, message) => {
    expect(() => read(100, withMap(text, content))).toThrow(message);
  });

  test("without parts is a file of nothing but a hole", () => {
    expect(read(100, withMap("0\n"))).toEqual([]);
    expect(read(100, Buffer.alloc(0))).toEqual([]);
  });
});

test("parts that are known before are put in their places", () => {
  const written: unknown[] = [];
  const parts = [
    [3, 2],
    [7, 0],
    [10, 1],
    [20, 0],
  ] as const;
  const content = new SparseContent({ size: 20, parts }, (piece, at) => written.push([at, piece.byteLength]));
  content.add(Buffer.from("a"));
  expect(() => content.end()).toThrow(/less content/);
  content.add(Buffer.from("bc"));
  content.end();
  expect(written).toEqual([
    [3, 1],
    [4, 1],
    [10, 1],
  ]);
});
