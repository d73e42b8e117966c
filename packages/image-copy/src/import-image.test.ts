import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { decompress } from "@ocid/layer";
import { digestBytes } from "@ocid/spec";
import { pack } from "tar-stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { copyImage } from "./copy-image.ts";
import { importImage } from "./import-image.ts";
import { inspectImage } from "./inspect-image.ts";
import { createLayoutDestination } from "./layout-transport.ts";
import { createStorageDestination } from "./storage-destination.ts";
import { createMemoryImageStore } from "./testing/memory-image-store.ts";

let directory: string;
let root: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "ocid-import-"));
  root = join(directory, "root");
  mkdirSync(join(root, "bin"), { recursive: true });
  writeFileSync(join(root, "bin/tool"), "#!/bin/sh\n", { mode: 0o755 });
  symlinkSync("tool", join(root, "bin/link"));
  utimesSync(join(root, "bin/tool"), 1, 1);
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const created = "2024-01-02T03:04:05Z";
const config = {
  Entrypoint: ["/bin/tool"],
  Cmd: ["-v"],
  Env: ["A=b"],
  WorkingDir: "/bin",
  User: "1000:1000",
  Labels: { "org.example": "yes" },
};

describe("importImage", () => {
  it("makes an image of a directory, the same each time", async () => {
    const digests = [];
    for (const time of [created, created, undefined]) {
      await using source = await importImage(root, { config, ...(time ? { created: time } : {}) });
      const inspected = await inspectImage(source);
      expect(inspected.config.config).toEqual(config);
      expect(inspected.labels).toEqual({ "org.example": "yes" });
      digests.push(inspected.digest);
    }
    expect(digests[0]).toBe(digests[1]);
    expect(digests[0]).not.toBe(digests[2]);
  });

  it.each(["gzip", "zstd"] as const)(
    "compresses with %s and goes into any destination",
    async compression => {
      await using source = await importImage(root, { compression, created });
      const { config: made, layers, digest } = await inspectImage(source);
      const tar = await buffer(decompress(source.openBlob(layers[0]!)));
      expect(digestBytes(tar)).toBe(made.rootfs.diff_ids[0]);
      const names = execFileSync("tar", ["-t"], { input: tar, encoding: "utf8" }).trim().split("\n");
      expect(names.sort()).toEqual(["bin/", "bin/link", "bin/tool"]);
      const layout = createLayoutDestination(join(directory, "layout"), "1");
      expect((await copyImage(source, layout)).digest).toBe(digest);
      const reference = { registry: "localhost", repository: "x", tag: "1" };
      const { image } = await copyImage(
        source,
        createStorageDestination(createMemoryImageStore(), reference),
      );
      expect(image?.digest).toBe(digest);
    },
  );

  it("makes the same image of a tar, compressed or not", async () => {
    const archive = pack();
    archive.entry({ name: "file", mtime: new Date(0) }, "content");
    archive.finalize();
    const tar = await buffer(archive as AsyncIterable<Buffer>);
    const digests = [];
    for (const [name, bytes] of [
      ["a.tar", tar],
      ["a.tar.gz", gzipSync(tar)],
    ] as const) {
      writeFileSync(join(directory, name), bytes);
      await using source = await importImage(join(directory, name), { created });
      digests.push((await inspectImage(source)).digest);
    }
    expect(digests[0]).toBe(digests[1]);
  });

  it("refuses what is no tar, what is not there and a time that is none", async () => {
    const text = join(directory, "text");
    writeFileSync(text, "no tar at all\n".repeat(100));
    await expect(importImage(text)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    writeFileSync(text, "short");
    await expect(importImage(text)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(text),
    });
    await expect(importImage(join(directory, "missing"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(importImage(root, { created: "yesterday" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("leaves no temporary files", async () => {
    const temporaryDirectory = join(directory, "tmp");
    mkdirSync(temporaryDirectory);
    {
      await using _source = await importImage(root, { temporaryDirectory });
      expect(readdirSync(temporaryDirectory)).toHaveLength(1);
    }
    await expect(
      importImage(root, { temporaryDirectory, signal: AbortSignal.abort(new Error("enough")) }),
    ).rejects.toThrow("enough");
    expect(readdirSync(temporaryDirectory)).toEqual([]);
  });
});
