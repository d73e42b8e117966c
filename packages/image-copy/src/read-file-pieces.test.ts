import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { readFilePieces } from "./read-file-pieces.ts";

const directory = mkdtempSync(join(tmpdir(), "read-file-pieces-"));
afterAll(() => rmSync(directory, { recursive: true }));

const content = Buffer.alloc(2_000_003, "what a file has in it, ");
const path = join(directory, "file");
writeFileSync(path, content);

async function read(offset: number, signal?: AbortSignal): Promise<Buffer> {
  const found: Buffer[] = [];
  for await (const piece of readFilePieces(path, { offset, signal })) found.push(Buffer.from(piece));
  return Buffer.concat(found);
}

describe("readFilePieces", () => {
  test.each([0, 1, 262_144, 1_999_999, 2_000_003, 3_000_000])("reads from %i to the end", async offset => {
    expect((await read(offset)).equals(content.subarray(offset))).toBe(true);
  });

  test("reads ahead into memory that the piece at hand is not in", async () => {
    let at = 0;
    for await (const piece of readFilePieces(path, { offset: 0 })) {
      await new Promise(resolve => setTimeout(resolve, 5));
      expect(content.subarray(at, at + piece.byteLength).equals(piece)).toBe(true);
      at += piece.byteLength;
    }
    expect(at).toBe(content.byteLength);
  });

  test("closes the file when its reader leaves", async () => {
    const pieces = readFilePieces(path, { offset: 0 });
    await pieces.next();
    await pieces.return();
    expect(await pieces.next()).toEqual({ done: true, value: undefined });
  });

  test("is cancelled", async () => {
    await expect(read(0, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
  });

  test("fails where there is no file", async () => {
    await expect(readFilePieces(join(directory, "none"), { offset: 0 }).next()).rejects.toMatchObject({
      code: "ENOENT",
    });
  });
});
