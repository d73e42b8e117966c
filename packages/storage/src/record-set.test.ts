import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "@ocid/base";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RecordSet } from "./record-set.ts";
import { takeLock } from "./store-lock.ts";

let directory: string;
let lockPath: string;
let path: string;
let second: string;
const context = { logger: silentLogger };

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "records-"));
  lockPath = join(directory, "x.lock");
  path = join(directory, "x.json");
  second = join(directory, "volatile-x.json");
});

afterEach(() => rmSync(directory, { recursive: true }));

async function append(set: RecordSet, id: string) {
  using locked = await set.lock(context);
  await locked.change(row => row, { append: [{ id }] });
}

describe("record files", () => {
  test("hold what was appended, compact, private, and with a fresh token", async () => {
    await append(new RecordSet({ lock: lockPath, files: [path] }), "a");
    expect(readFileSync(path, "utf8")).toBe('[{"id":"a"}]');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const token = readFileSync(lockPath);
    expect(token.byteLength).toBe(64);
    await append(new RecordSet({ lock: lockPath, files: [path] }), "b");
    expect(readFileSync(lockPath).equals(token)).toBe(false);
    expect(readdirSync(directory).sort()).toEqual(["x.json", "x.lock"]);
  });

  test("are not written when nothing changes", async () => {
    const set = new RecordSet({ lock: lockPath, files: [path] });
    await append(set, "a");
    const token = readFileSync(lockPath);
    using locked = await set.lock(context);
    await locked.change(row => row);
    expect(readFileSync(lockPath).equals(token)).toBe(true);
  });

  test("are read again when another program has replaced them", async () => {
    const set = new RecordSet({ lock: lockPath, files: [path] });
    await append(set, "a");
    writeFileSync(path, '[{"id":"a"},{"id":"b"}]');
    expect(set.rows().map(row => row["id"])).toEqual(["a", "b"]);
  });

  test("are read again under the lock by the token alone", async () => {
    const set = new RecordSet({ lock: lockPath, files: [path] });
    await append(set, "a");
    set.rows();
    const { atimeMs, mtimeMs } = statSync(path);
    writeFileSync(path, '[{"id":"b"}]');
    utimesSync(path, atimeMs / 1000, mtimeMs / 1000);
    const lock = await takeLock(lockPath, "write", context);
    lock.touch();
    lock[Symbol.dispose]();
    using locked = await set.lock(context);
    expect(locked.rows()).toEqual([{ id: "b" }]);
  });

  test("change in the file in which they are; of two with one id the first counts", async () => {
    writeFileSync(path, '[{"id":"a"}]');
    writeFileSync(second, '[{"id":"v"},{"id":"a","twin":true}]');
    const set = new RecordSet({ lock: lockPath, files: [path, second] });
    expect(set.rows()).toEqual([{ id: "a" }, { id: "v" }]);
    using locked = await set.lock(context);
    await locked.change(row => (row["id"] === "v" ? { ...row, seen: true } : row));
    expect(readFileSync(path, "utf8")).toBe('[{"id":"a"}]');
    expect(JSON.parse(readFileSync(second, "utf8"))[0]).toEqual({ id: "v", seen: true });
  });

  test("are changed by one at a time, and none is lost", async () => {
    const sets = [
      new RecordSet({ lock: lockPath, files: [path] }),
      new RecordSet({ lock: lockPath, files: [path] }),
    ];
    await Promise.all(Array.from({ length: 20 }, (_, at) => append(sets[at % 2]!, `r${at}`)));
    expect(JSON.parse(readFileSync(path, "utf8"))).toHaveLength(20);
  });

  test("that cannot be read are kept", async () => {
    writeFileSync(path, "[{");
    await expect(append(new RecordSet({ lock: lockPath, files: [path] }), "a")).rejects.toMatchObject({
      code: "DATA_LOSS",
    });
    expect(readFileSync(path, "utf8")).toBe("[{");
  });
});

describe("a lock", () => {
  test("that another holds can be given up waiting for", async () => {
    using _held = await takeLock(lockPath, "write", context);
    const controller = new AbortController();
    const waiting = takeLock(lockPath, "write", { ...context, signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });

  test("whose file is a directory is an error that names it", async () => {
    await expect(takeLock(directory, "write", context)).rejects.toThrow(directory);
  });
});
