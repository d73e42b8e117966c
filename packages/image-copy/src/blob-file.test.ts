import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { digestBytes, digestHex } from "@ocid/spec";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findPartialBlobs, writeBlobFile } from "./blob-file.ts";

const content = Buffer.alloc(1_000_000, "some content, not all of it the same: ");
const blob = { mediaType: "x", digest: digestBytes(content), size: content.byteLength };
/** No process has it: the kernel's largest is 2^22. */
const deadPid = 2 ** 22 + 1;

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "ocid-blob-"));
  path = join(directory, digestHex(blob.digest));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** A source that tells where it was read from, and can break. */
function source(options: { readonly breakAt?: number; readonly error?: Error } = {}) {
  const offsets: number[] = [];
  let breaks = options.breakAt === undefined ? 0 : 1;
  return {
    offsets,
    open: async function* (offset: number) {
      offsets.push(offset);
      for (let at = offset; at < content.byteLength; at += 50_000) {
        if (options.breakAt !== undefined && at >= options.breakAt && breaks-- > 0) throw options.error;
        yield content.subarray(at, at + 50_000);
      }
    },
  };
}

describe("writeBlobFile", () => {
  it("gives the name to what is whole only", async () => {
    expect(await writeBlobFile(path, blob, source().open)).toBe(true);
    expect(readFileSync(path).equals(content)).toBe(true);
    expect(readdirSync(directory)).toHaveLength(1);
    expect(await writeBlobFile(path, blob, source().open)).toBe(false);
  });

  it("goes on after a broken connection", async () => {
    const broken = source({ breakAt: 300_000, error: new OcidError("UNAVAILABLE", "connection reset") });
    await writeBlobFile(path, blob, broken.open);
    expect(broken.offsets).toEqual([0, 300_000]);
    expect(readFileSync(path).equals(content)).toBe(true);
  });

  it("keeps what has come when it fails, and asks for the rest only", async () => {
    const denied = source({ breakAt: 500_000, error: new OcidError("UNAUTHENTICATED", "who are you") });
    await expect(writeBlobFile(path, blob, denied.open)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    expect(await findPartialBlobs(directory)).toEqual([
      { path: `${path}.${process.pid}.partial`, size: 500_000, pid: process.pid, inUse: true },
    ]);
    const rest = source();
    await writeBlobFile(path, blob, rest.open);
    expect(rest.offsets).toEqual([500_000]);
    expect(readFileSync(path).equals(content)).toBe(true);
    expect(readdirSync(directory)).toHaveLength(1);
  });

  it("takes over the piece of a process that has died, not one that is being written", async () => {
    writeFileSync(`${path}.1.partial`, content.subarray(0, 900_000));
    writeFileSync(`${path}.${deadPid}.partial`, content.subarray(0, 400_000));
    const rest = source();
    await writeBlobFile(path, blob, rest.open);
    expect(rest.offsets).toEqual([400_000]);
    expect(readdirSync(directory).sort()).toEqual([
      digestHex(blob.digest),
      `${digestHex(blob.digest)}.1.partial`,
    ]);
  });

  it("starts again when the piece that was kept is wrong", async () => {
    writeFileSync(`${path}.${deadPid}.partial`, Buffer.alloc(400_000, 1));
    const rest = source();
    await writeBlobFile(path, blob, rest.open);
    expect(rest.offsets).toEqual([400_000, 0]);
    expect(readFileSync(path).equals(content)).toBe(true);
  });

  it.each([0, 400_000])("keeps nothing of a source whose bytes are wrong, from %i", async kept => {
    if (kept > 0) writeFileSync(`${path}.${deadPid}.partial`, content.subarray(0, kept));
    const wrong = async function* (offset: number) {
      yield Buffer.alloc(content.byteLength - offset);
    };
    await expect(writeBlobFile(path, blob, wrong)).rejects.toMatchObject({ reason: "DigestMismatch" });
    expect(readdirSync(directory)).toEqual([]);
  });

  it.each([
    ["too long", content.byteLength + 1],
    ["too short", content.byteLength - 1],
  ])("refuses what is %s", async (_, size) => {
    const sized = async function* () {
      yield Buffer.alloc(size);
    };
    await expect(writeBlobFile(path, blob, sized)).rejects.toMatchObject({ reason: "SizeMismatch" });
    expect(readdirSync(directory)).toEqual([]);
  });

  it("has two who want the same blob fetch it once", async () => {
    const one = source();
    const results = await Promise.all([
      writeBlobFile(path, blob, one.open),
      writeBlobFile(path, blob, one.open),
    ]);
    expect(results.sort()).toEqual([false, true]);
    expect(one.offsets).toEqual([0]);
  });

  it("takes an empty blob", async () => {
    const empty = { mediaType: "x", digest: digestBytes(""), size: 0 };
    const target = join(directory, digestHex(empty.digest));
    expect(await writeBlobFile(target, empty, async function* () {})).toBe(true);
    expect(readFileSync(target)).toHaveLength(0);
  });
});
