import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { OcidError, wrapError } from "@ocid/base";
import { compress, createLayerTar, decompress } from "@ocid/layer";
import {
  currentPlatform,
  type Descriptor,
  type DiffId,
  digestBytes,
  finishDigest,
  type ImageExecution,
  mediaTypes,
  type Platform,
  verifyStream,
} from "@ocid/spec";
import type { CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";
import { layerMediaType } from "./layer-media-type.ts";
import { readFileFrom, Spool } from "./spool.ts";

export interface ImportOptions extends CallOptions {
  /** How containers of the image run. */
  readonly config?: ImageExecution;
  readonly platform?: Platform;
  /** RFC 3339. Default: now. With the same content and time the image is the same. */
  readonly created?: string;
  /** For the image's history. */
  readonly comment?: string;
  readonly compression?: "gzip" | "zstd";
  /** Where the layer is kept until the source is disposed of. Default: TMPDIR, or /var/tmp. */
  readonly temporaryDirectory?: string;
}

/**
 * An image of one layer, made of a directory or of a tar (plain or compressed): a source to copy from into any
 * destination. Dispose of it.
 */
export async function importImage(
  path: string,
  options: ImportOptions = {},
): Promise<ImageSource & AsyncDisposable> {
  const { created = new Date().toISOString(), compression = "gzip" } = options;
  if (Number.isNaN(Date.parse(created)))
    throw new OcidError("INVALID_ARGUMENT", `${JSON.stringify(created)} is not a time in RFC 3339 form`);
  const spool = new Spool(options.temporaryDirectory);
  try {
    const hash = createHash("sha256");
    const tar = hashed(await openTar(path, options), hash);
    const spooled = await spool.write(compress(tar, compression, options.signal), options);
    const config = makeConfig(finishDigest(hash) as DiffId, created, options);
    const layer: Descriptor = {
      mediaType: layerMediaType("oci", compression),
      digest: spooled.digest,
      size: spooled.size,
    };
    const manifest = makeManifest(config, layer);
    return {
      name: path,
      async getManifest(digest) {
        if (digest !== undefined && digest !== manifest.descriptor.digest)
          throw new OcidError("NOT_FOUND", `${path} has no manifest ${digest}`);
        return manifest;
      },
      openBlob(descriptor, { offset = 0, signal } = {}) {
        if (descriptor.digest !== layer.digest) return once(config);
        const bytes = readFileFrom(spooled.path, offset, signal);
        return offset === 0 ? verifyStream(bytes, descriptor) : bytes;
      },
      blobSource: async () => ({ kind: "file", path: spooled.path }),
      [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose](),
    };
  } catch (error) {
    await spool[Symbol.asyncDispose]();
    options.signal?.throwIfAborted();
    throw wrapError(`import ${path}`, error);
  }
}

async function openTar(path: string, { signal }: CallOptions): Promise<AsyncIterable<Uint8Array>> {
  const found = await stat(path);
  if (found.isDirectory()) return createLayerTar(path, { signal });
  if (found.isFile()) return checkTar(decompress(readFileFrom(path, 0, signal), signal));
  throw new OcidError("INVALID_ARGUMENT", "it is neither a directory nor a file");
}

/** Anything can be compressed and pushed; only a tar can be unpacked again. */
async function* checkTar(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let head: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of chunks) {
    if (head !== undefined) {
      head = Buffer.concat([head, chunk.subarray(0, 512)]);
      if (head.byteLength >= 512) {
        if (!isTarBlock(head)) break;
        head = undefined;
      }
    }
    yield chunk;
  }
  if (head !== undefined) throw new OcidError("INVALID_ARGUMENT", "it is not a tar archive");
}

/** A header with its checksum, or the zeros with which an empty archive begins. */
function isTarBlock(block: Buffer): boolean {
  const stated = Number.parseInt(block.toString("latin1", 148, 156), 8);
  let sum = 0;
  for (let at = 0; at < 512; at++) sum += at >= 148 && at < 156 ? 0x20 : block[at]!;
  return stated === sum || block.subarray(0, 512).every(byte => byte === 0);
}

function makeConfig(diffId: DiffId, created: string, options: ImportOptions): Uint8Array {
  const { os, architecture, variant } = options.platform ?? currentPlatform();
  return Buffer.from(
    JSON.stringify({
      created,
      architecture,
      ...(variant === undefined ? {} : { variant }),
      os,
      config: options.config ?? {},
      rootfs: { type: "layers", diff_ids: [diffId] },
      history: [
        {
          created,
          created_by: "ocic import",
          ...(options.comment === undefined ? {} : { comment: options.comment }),
        },
      ],
    }),
  );
}

function makeManifest(config: Uint8Array, layer: Descriptor): ManifestBytes {
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: { mediaType: mediaTypes.ociConfig, digest: digestBytes(config), size: config.byteLength },
      layers: [layer],
    }),
  );
  return {
    descriptor: { mediaType: mediaTypes.ociManifest, digest: digestBytes(bytes), size: bytes.byteLength },
    bytes,
  };
}

async function* hashed(
  chunks: AsyncIterable<Uint8Array>,
  hash: ReturnType<typeof createHash>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
