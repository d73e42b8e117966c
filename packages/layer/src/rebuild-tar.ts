import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { createGunzip } from "node:zlib";
import { OcidError, wrapError } from "@ocid/base";
import { Crc64 } from "./crc64.ts";

export interface RebuildTarRequest {
  /** The layer's tar-split file. */
  readonly tarSplitPath: string;
  /** Opens the content of a file by its name in the archive (not cleaned: it may be hostile). */
  readonly openFile: (name: string | Buffer, size: number) => AsyncIterable<Uint8Array>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The layer's uncompressed tar, bit for bit, from its tar-split and its files. DATA_LOSS names a file whose content has
 * changed since; compare the digest of the whole with the diffID to be sure of the rest.
 */
export async function* rebuildTar(request: RebuildTarRequest): AsyncGenerator<Uint8Array, void, undefined> {
  const crc = new Crc64();
  const source = createReadStream(request.tarSplitPath);
  const inflated = createGunzip({ chunkSize: 256 * 1024 });
  source.on("error", error => inflated.destroy(error));
  const lines = createInterface({ input: source.pipe(inflated), crlfDelay: Number.POSITIVE_INFINITY });
  // readline does not pass on its input's errors.
  let failure: unknown;
  inflated.on("error", error => {
    failure = error;
    lines.close();
  });
  try {
    for await (const line of lines) {
      request.signal?.throwIfAborted();
      const record = parseRecord(line, request.tarSplitPath);
      if (record.kind === "segment") yield record.bytes;
      else if (record.size > 0) yield* checked(request.openFile(record.name, record.size), record, crc);
    }
    if (failure !== undefined) throw wrapError(`read ${request.tarSplitPath}`, failure, "DATA_LOSS");
  } finally {
    lines.close();
    source.destroy();
    inflated.destroy();
    // Whoever has the end of it may remove the store: nothing of it is open any more.
    if (!source.closed) await new Promise(resolve => source.once("close", resolve));
  }
}

type SplitRecord =
  | { readonly kind: "segment"; readonly bytes: Buffer }
  | {
      readonly kind: "file";
      readonly name: string | Buffer;
      readonly size: number;
      readonly checksum: Buffer;
    };

/** @internal Exported for tests. */
export function parseRecord(line: string, path: string): SplitRecord {
  let record: { type?: unknown; name?: unknown; name_raw?: unknown; size?: unknown; payload?: unknown };
  try {
    record = JSON.parse(line);
  } catch (error) {
    throw new OcidError("DATA_LOSS", `${path} is damaged: a line is not JSON`, { cause: error });
  }
  const payload =
    typeof record.payload === "string" ? Buffer.from(record.payload, "base64") : Buffer.alloc(0);
  if (record.type === 2) return { kind: "segment", bytes: payload };
  const name = typeof record.name_raw === "string" ? Buffer.from(record.name_raw, "base64") : record.name;
  const size = record.size ?? 0;
  if (
    record.type !== 1 ||
    (typeof name !== "string" && !Buffer.isBuffer(name)) ||
    typeof size !== "number" ||
    !Number.isSafeInteger(size) ||
    size < 0
  ) {
    throw new OcidError("DATA_LOSS", `${path} is damaged: a line is neither a segment nor a file`);
  }
  return { kind: "file", name, size, checksum: payload };
}

async function* checked(
  content: AsyncIterable<Uint8Array>,
  record: Extract<SplitRecord, { kind: "file" }>,
  crc: Crc64,
): AsyncGenerator<Uint8Array, void, undefined> {
  const changed = (why: string) =>
    new OcidError(
      "DATA_LOSS",
      `file ${JSON.stringify(record.name.toString())} of the layer has changed: ${why}`,
      { reason: "FileChanged", details: { file: record.name.toString() } },
    );
  let size = 0;
  crc.reset();
  for await (const chunk of content) {
    size += chunk.byteLength;
    if (size > record.size) throw changed(`it has more than ${record.size} bytes`);
    for (let at = 0; at < chunk.byteLength; at += crc.buffer.byteLength) {
      const part = chunk.subarray(at, at + crc.buffer.byteLength);
      crc.buffer.set(part);
      crc.update(crc.buffer.subarray(0, part.byteLength));
    }
    yield chunk;
  }
  if (size !== record.size) throw changed(`it has ${size} bytes instead of ${record.size}`);
  if (!crc.digest().equals(record.checksum)) throw changed("its checksum differs");
}
