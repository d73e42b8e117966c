import { closeSync, openSync, readFileSync } from "node:fs";
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

const large = Buffer.alloc(50 * 1024 * 1024, 1);
const other = Buffer.alloc(1_000_000, 2);

describe("FileEnd", () => {
  test("writes bytes in their order, whose memory can be filled anew then", async () => {
    const path = join(directory, "whole");
    const file = await open(path, "a+");
    const end = new FileEnd(file);
    const piece = Buffer.alloc(65_000);
    for (let turn = 0; turn < 50; turn++) await end.append(piece.fill(turn));
    await end.sync();
    await file.close();
    const expected = Array.from({ length: 50 }, (_, turn) => Buffer.alloc(65_000, turn));
    expect(readFileSync(path).equals(Buffer.concat(expected))).toBe(true);
  });

  test("syncs while more comes, once at a time, and the rest in the end", async () => {
    const syncs: PromiseWithResolvers<void>[] = [];
    const path = join(directory, "large");
    const fd = openSync(path, "a+");
    const file = {
      fd,
      datasync() {
        const sync = Promise.withResolvers<void>();
        syncs.push(sync);
        return sync.promise;
      },
    } as unknown as FileHandle;
    const end = new FileEnd(file);
    await end.append(large);
    await end.append(other);
    expect(readFileSync(path).equals(Buffer.concat([large, other]))).toBe(true);
    expect(syncs).toHaveLength(1);
    let isSynced = false;
    const synced = end.sync().then(() => {
      isSynced = true;
    });
    syncs[0]!.resolve();
    await new Promise(setImmediate);
    expect(syncs).toHaveLength(2);
    expect(isSynced).toBe(false);
    syncs[1]!.resolve();
    await synced;
    closeSync(fd);
  });

  test("tells of a sync that failed on the way", async () => {
    const fd = openSync(join(directory, "failing"), "a+");
    const full = Object.assign(new Error("no space left"), { code: "ENOSPC" });
    const answers = [Promise.reject(full), Promise.resolve()];
    answers[0]!.catch(() => {});
    const file = { fd, datasync: () => answers.shift()! } as unknown as FileHandle;
    const end = new FileEnd(file);
    await end.append(large);
    await expect(end.sync()).rejects.toThrow("no space left");
    closeSync(fd);
  });

  test("tells of a write that failed, also during a sync", async () => {
    const fd = openSync("/dev/full", "a");
    const end = new FileEnd({ fd } as FileHandle);
    await expect(end.append(Buffer.from("x"))).rejects.toMatchObject({ code: "ENOSPC" });
    closeSync(fd);
    const file = { fd: openSync(join(directory, "filling"), "a+"), datasync: () => new Promise(() => {}) };
    const busy = new FileEnd(file as unknown as FileHandle);
    await busy.append(large);
    closeSync(file.fd);
    file.fd = openSync("/dev/full", "a");
    await expect(busy.append(Buffer.from("x"))).rejects.toMatchObject({ code: "ENOSPC" });
    closeSync(file.fd);
  });
});
