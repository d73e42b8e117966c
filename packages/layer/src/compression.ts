import { Readable } from "node:stream";
import { createGunzip, createGzip, createZstdCompress, createZstdDecompress } from "node:zlib";
import { OcidError } from "@ocid/base";

export type Compression = "none" | "gzip" | "zstd" | "bzip2" | "xz";

const magics: readonly (readonly [Compression, readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b, 0x08]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["bzip2", [0x42, 0x5a, 0x68]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
];

/** How bytes are compressed, by how they begin; media types are not believed. Six bytes are enough. */
export function detectCompression(start: Uint8Array): Compression {
  const found = magics.find(([, magic]) => magic.every((byte, at) => start[at] === byte));
  // A zstd stream may begin with a skippable frame, whose magic number ends in 0x184d2a5?.
  if (
    !found &&
    start.byteLength >= 4 &&
    (start[0]! & 0xf0) === 0x50 &&
    start[1] === 0x2a &&
    start[2] === 0x4d &&
    start[3] === 0x18
  )
    return "zstd";
  return found?.[0] ?? "none";
}

export function unsupportedCompression(compression: Compression): OcidError {
  return new OcidError(
    "UNIMPLEMENTED",
    `layers compressed with ${compression} are not supported; push the image again with gzip or zstd`,
  );
}

/** Inflates a stream of any supported compression, detected from its first bytes; plain bytes pass as they are. */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const [start, rest] = await peek(source);
  const compression = detectCompression(start);
  if (compression === "none") {
    yield* rest;
    return;
  }
  if (compression !== "gzip" && compression !== "zstd") throw unsupportedCompression(compression);
  yield* through(
    rest,
    compression === "gzip"
      ? createGunzip({ chunkSize: 256 * 1024 })
      : createZstdDecompress({ chunkSize: 256 * 1024 }),
    signal,
  );
}

/** Compresses a stream. Default levels: gzip 6, zstd 3. */
export async function* compress(
  source: AsyncIterable<Uint8Array>,
  compression: "gzip" | "zstd",
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* through(
    source,
    compression === "gzip"
      ? createGzip({ chunkSize: 256 * 1024 })
      : createZstdCompress({ chunkSize: 256 * 1024 }),
    signal,
  );
}

async function* through(
  source: AsyncIterable<Uint8Array>,
  transform: NodeJS.ReadWriteStream & { destroy(error?: Error): void },
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const input = Readable.from(source, { objectMode: false });
  input.on("error", error => transform.destroy(error));
  const abort = () => transform.destroy(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  input.pipe(transform);
  try {
    for await (const chunk of transform as AsyncIterable<Uint8Array>) yield chunk;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code?.startsWith("Z_") || code?.startsWith("ZSTD_"))
      throw new OcidError("DATA_LOSS", `compressed data is damaged: ${(error as Error).message}`, {
        cause: error,
      });
    throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
    input.destroy();
    transform.destroy();
  }
}

/** The first bytes of a stream, and the stream with them. */
async function peek(source: AsyncIterable<Uint8Array>): Promise<[Uint8Array, AsyncIterable<Uint8Array>]> {
  const iterator = source[Symbol.asyncIterator]();
  const head: Uint8Array[] = [];
  let size = 0;
  while (size < 6) {
    const next = await iterator.next();
    if (next.done) break;
    head.push(next.value);
    size += next.value.byteLength;
  }
  const rest = async function* () {
    try {
      yield* head;
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  };
  return [Buffer.concat(head), rest()];
}
