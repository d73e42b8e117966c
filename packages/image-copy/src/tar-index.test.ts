import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import fc from "fast-check";
import { extract, pack } from "tar-stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TarFileWriter } from "./tar-file-writer.ts";
import { readTarIndex } from "./tar-index.ts";

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "ocid-tar-"));
  path = join(directory, "a.tar");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function write(build: (tar: ReturnType<typeof pack>) => void): Promise<Buffer> {
  const tar = pack();
  build(tar);
  tar.finalize();
  const bytes = await buffer(tar as AsyncIterable<Buffer>);
  writeFileSync(path, bytes);
  return bytes;
}

async function read(name: string): Promise<string | undefined> {
  const member = (await readTarIndex(path)).find(name);
  return member && readFileSync(path).toString("utf8", member.offset, member.offset + member.size);
}

describe("readTarIndex", () => {
  it("finds files, by long and unusual names too", async () => {
    const names = ["a", "./b", "d/e/f", `${"long/".repeat(40)}name`, "umlaut-ä"];
    await write(tar => {
      for (const name of names) tar.entry({ name }, `content of ${name}`);
    });
    for (const name of names) expect(await read(name)).toBe(`content of ${name}`);
    expect(await read("other")).toBeUndefined();
  });

  it("follows links within the archive, and lets the last of a name count", async () => {
    await write(tar => {
      tar.entry({ name: "x/layer.tar" }, "one");
      tar.entry({ name: "y/layer.tar", type: "symlink", linkname: "../x/layer.tar" });
      tar.entry({ name: "hard", type: "link", linkname: "x/layer.tar" });
      tar.entry({ name: "twice" }, "first");
      tar.entry({ name: "twice" }, "second");
      tar.entry({ name: "loop", type: "symlink", linkname: "loop" });
      tar.entry({ name: "out", type: "symlink", linkname: "../../etc/passwd" });
      tar.entry({ name: "directory", type: "directory" });
    });
    expect(await read("y/layer.tar")).toBe("one");
    expect(await read("hard")).toBe("one");
    expect(await read("twice")).toBe("second");
    for (const name of ["loop", "out", "directory"]) expect(await read(name)).toBeUndefined();
  });

  it("says what is no tar, and what ends too early", async () => {
    writeFileSync(path, Buffer.alloc(2048, "x"));
    await expect(readTarIndex(path)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(path),
    });
    const whole = await write(tar => tar.entry({ name: "a" }, "content".repeat(1000)));
    writeFileSync(path, whole.subarray(0, 2048));
    await expect(readTarIndex(path)).rejects.toMatchObject({ code: "DATA_LOSS" });
  });

  it("fails in no other way, whatever bytes are wrong", async () => {
    const whole = await write(tar => {
      tar.entry({ name: "a", pax: { comment: "x" } }, "content");
      tar.entry({ name: `${"long/".repeat(40)}name` }, "more");
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(whole.byteLength - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        async changes => {
          const bytes = Buffer.from(whole);
          for (const [at, value] of changes) bytes[at] = value;
          writeFileSync(path, bytes);
          const outcome = await readTarIndex(path).then(
            () => "OK",
            error => error.code,
          );
          expect(["OK", "INVALID_ARGUMENT", "DATA_LOSS", "RESOURCE_EXHAUSTED"]).toContain(outcome);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe("TarFileWriter", () => {
  it("writes what others read, several files at once", async () => {
    const files = new Map([
      ["first", Buffer.alloc(100_000, "a")],
      [`blobs/sha512/${"0".repeat(128)}`, Buffer.from("b")],
      ["empty", Buffer.alloc(0)],
    ]);
    await using writer = new TarFileWriter(path);
    await Promise.all([...files].map(([name, content]) => writer.add(name, content.byteLength, content)));
    await writer.commit();
    const found = new Map<string, Buffer>();
    const tar = Readable.from([readFileSync(path)]).pipe(extract());
    for await (const entry of tar) found.set(entry.header.name, await buffer(entry as AsyncIterable<Buffer>));
    expect(new Set(found.keys())).toEqual(new Set(files.keys()));
    for (const [name, content] of files) expect(found.get(name)!.equals(content)).toBe(true);
    expect((await readTarIndex(path)).find(`blobs/sha512/${"0".repeat(128)}`)?.size).toBe(1);
  });

  it("leaves nothing without commit, and refuses content of another size", async () => {
    {
      await using writer = new TarFileWriter(path);
      await writer.add("a", 1, Buffer.from("a"));
      await expect(writer.add("b", 2, Buffer.from("a"))).rejects.toMatchObject({ code: "DATA_LOSS" });
      await expect(writer.add("c", 0, Buffer.from("a"))).rejects.toMatchObject({ code: "DATA_LOSS" });
    }
    expect(() => readFileSync(path)).toThrow("ENOENT");
  });
});
