import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { createGzip } from "node:zlib";
import {
  currentPlatform,
  type Descriptor,
  type DiffId,
  digestBytes,
  digestHex,
  finishDigest,
  mediaTypes,
} from "@ocid/spec";
import { tempRoot } from "@ocid/testkit";
import { afterAll, expect, test } from "vitest";

/** 5 GB in 200,000 files take a minute: on demand; what is kept for each file would show in a twentieth too. */
const files = process.env["OCID_EXHAUSTIVE"] ? 200_000 : 10_000;
const fileBytes = 25_600;

const ocic = join(import.meta.dirname, "../../../apps/ocic/dist/ocic");
const root = tempRoot("memory-");

afterAll(() => root.remove());

interface LargeLayer {
  readonly diffId: DiffId;
  readonly descriptor: Descriptor;
}

/** A layer of that many files in hundreds of directories, compressed as it is made. */
async function largeLayer(): Promise<LargeLayer> {
  const path = join(root.path, "layer.tar.gz");
  const plain = createHash("sha256");
  const packed = createHash("sha256");
  let size = 0;
  await pipeline(
    Readable.from(tar()),
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        plain.update(chunk);
        yield chunk;
      }
    },
    createGzip({ level: 1 }),
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        packed.update(chunk);
        size += chunk.byteLength;
        yield chunk;
      }
    },
    createWriteStream(path),
  );
  const digest = finishDigest(packed);
  return {
    diffId: finishDigest(plain) as DiffId,
    descriptor: { mediaType: mediaTypes.ociLayerGzip, digest, size },
  };
}

function* tar(): Generator<Buffer> {
  const content = Buffer.alloc(fileBytes, "0123456789abcdef");
  for (let at = 0; at < files; at++) {
    if (at % 500 === 0) yield header(`d${at / 500}/`, "5", 0);
    content.write(String(at).padStart(10));
    yield Buffer.concat([header(`d${Math.floor(at / 500)}/f${at}`, "0", fileBytes), content]);
  }
  yield Buffer.alloc(1024);
}

function header(name: string, type: string, size: number): Buffer {
  const block = Buffer.alloc(512);
  block.write(name, 0);
  block.write(type === "5" ? "0000755\0" : "0000644\0", 100);
  block.write("0000000\0".repeat(2), 108);
  block.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  block.write("14631500000\0", 136);
  block.write("        ", 148);
  block.write(type, 156);
  block.write("ustar\x0000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

/** The layer as an image in a directory, as skopeo writes it. */
function writeImage(directory: string, { diffId, descriptor }: LargeLayer): void {
  const config = JSON.stringify({
    architecture: currentPlatform().architecture,
    os: "linux",
    rootfs: { type: "layers", diff_ids: [diffId] },
  });
  const digest = digestBytes(config);
  writeFileSync(join(directory, digestHex(digest)), config);
  writeFileSync(join(directory, "version"), "Directory Transport Version: 1.1\n");
  writeFileSync(
    join(directory, "manifest.json"),
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: { mediaType: mediaTypes.ociConfig, digest, size: config.length },
      layers: [descriptor],
    }),
  );
  renameSync(join(root.path, "layer.tar.gz"), join(directory, digestHex(descriptor.digest)));
}

/**
 * The most memory that a process is seen with, in MiB: its own (RssAnon), and with the pages of the executable's file
 * (VmHWM), which are the kernel's cache.
 */
async function peakMemory(
  program: string,
  args: readonly string[],
): Promise<{ readonly anonymous: number; readonly resident: number }> {
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "inherit"] });
  const ended = new Promise<number | null>(resolve => child.once("exit", resolve));
  const peak = { anonymous: 0, resident: 0 };
  while (child.exitCode === null && child.signalCode === null) {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      const mebibytes = (key: string) =>
        Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? 0) / 1024;
      peak.anonymous = Math.max(peak.anonymous, mebibytes("RssAnon"));
      peak.resident = Math.max(peak.resident, mebibytes("VmHWM"));
    } catch {
      // It has ended in between.
    }
    await sleep(20);
  }
  expect(await ended).toBe(0);
  return peak;
}

test("memory stays flat while a large image is unpacked into the store", { timeout: 900_000 }, async () => {
  const directory = join(root.path, "image");
  mkdirSync(directory);
  writeImage(directory, await largeLayer());
  const places = ["--root", join(root.path, "r"), "--runroot", join(root.path, "rr")];
  const { anonymous, resident } = await peakMemory(ocic, [
    ...places,
    "copy",
    `dir:${directory}`,
    "containers-storage:localhost/large:1",
  ]);
  console.info(
    `${files} files of ${fileBytes} bytes: ${anonymous.toFixed(0)} MiB of memory at most, ${resident.toFixed(0)} with the pages of files`,
  );
  expect(anonymous).toBeGreaterThan(10);
  expect(anonymous).toBeLessThan(150);
});
