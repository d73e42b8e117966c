import { readFileSync } from "node:fs";
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FileEnd } from "./file-end.ts";

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "file-end-"));
});

afterAll(() => rm(directory, { recursive: true }));

const chunks = Array.from({ length: 50 }, (_, at) => Buffer.alloc(65_000 + at, at));

describe("FileEnd", () => {
  test("writes chunks in their order, the last ones when it is flushed", async () => {
    const path = join(directory, "whole");
    const file = await open(path, "a+");
    const end = new FileEnd(file);
    for (const chunk of chunks) await end.append(chunk);
    await end.flush();
    await file.close();
    expect(readFileSync(path).equals(Buffer.concat(chunks))).toBe(true);
  });

  test("goes on after a write that took a part", async () => {
    const written: Uint8Array[] = [];
    const taking = (bytes: Uint8Array) => {
      const taken = Buffer.from(bytes.subarray(0, 40_000));
      written.push(taken);
      return { bytesWritten: taken.byteLength };
    };
    const file = {
      writev: async (pieces: readonly Uint8Array[]) => taking(pieces[0]!),
      write: async (bytes: Uint8Array, at: number) => taking(bytes.subarray(at)),
    } as unknown as FileHandle;
    const end = new FileEnd(file);
    for (const chunk of chunks) await end.append(chunk);
    await end.flush();
    expect(Buffer.concat(written).equals(Buffer.concat(chunks))).toBe(true);
  });

  test("tells of a write that failed", async () => {
    const full = Object.assign(new Error("no space left"), { code: "ENOSPC" });
    const file = { writev: () => Promise.reject(full) } as unknown as FileHandle;
    const end = new FileEnd(file);
    await end.append(Buffer.from("x"));
    await expect(end.flush()).rejects.toThrow("no space left");
  });
});
