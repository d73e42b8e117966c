import { buffer } from "node:stream/consumers";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { OcidError } from "@ocid/base";
import {
  currentPlatform,
  type Descriptor,
  type DiffId,
  type Digest,
  digestBytes,
  type ImageExecution,
  mediaTypes,
  type Platform,
} from "@ocid/spec";
import { pack } from "tar-stream";
import type { ImageSource, ManifestBytes } from "../image-source.ts";
import { type LayerCompression, layerMediaType, type ManifestFormat } from "../layer-media-type.ts";

export interface TestLayer {
  /** Content of regular files by name. */
  readonly files: Readonly<Record<string, string | Uint8Array>>;
  /** Default: gzip. */
  readonly compression?: LayerCompression;
}

export interface TestImageOptions {
  /** From the base up. Default: two. */
  readonly layers?: readonly TestLayer[];
  /** Default: oci. */
  readonly format?: ManifestFormat;
  readonly platform?: Platform;
  readonly config?: ImageExecution;
  /** Default: 6, as packages compress; another one stands for blobs of another program. */
  readonly gzipLevel?: number;
}

/** An image in memory: a source of copies whose blobs can be looked at, and spoilt. */
export interface TestImage extends ImageSource {
  readonly manifest: ManifestBytes;
  readonly blobs: Map<Digest, Uint8Array>;
  readonly layers: readonly Descriptor[];
  readonly diffIds: readonly DiffId[];
  readonly configDigest: Digest;
  /** Digests of the blobs that were read, in order. */
  readonly reads: Digest[];
}

const twoLayers: readonly TestLayer[] = [
  { files: { "etc/os-release": "NAME=test\n", "bin/tool": "#!/bin/sh\n" } },
  { files: { "etc/motd": "hello\n" } },
];

/** Makes an image; the same options give the same bytes. */
export async function makeTestImage(options: TestImageOptions = {}): Promise<TestImage> {
  const {
    format = "oci",
    layers = twoLayers,
    platform = currentPlatform(),
    config = { Cmd: ["/bin/tool"] },
  } = options;
  const blobs = new Map<Digest, Uint8Array>();
  const keep = (mediaType: string, bytes: Uint8Array): Descriptor => {
    const digest = digestBytes(bytes);
    blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.byteLength };
  };
  const tars = await Promise.all(layers.map(layer => makeTar(layer.files)));
  const diffIds = tars.map(tar => digestBytes(tar) as DiffId);
  const descriptors = layers.map(({ compression = "gzip" }, at) =>
    keep(layerMediaType(format, compression), squeeze(tars[at]!, compression, options.gzipLevel ?? 6)),
  );
  const configDescriptor = keep(
    format === "oci" ? mediaTypes.ociConfig : mediaTypes.dockerConfig,
    Buffer.from(
      JSON.stringify({
        created: "2024-01-02T03:04:05.678Z",
        ...platform,
        config,
        rootfs: { type: "layers", diff_ids: diffIds },
      }),
    ),
  );
  const mediaType = format === "oci" ? mediaTypes.ociManifest : mediaTypes.dockerManifest;
  const manifest = manifestOf(
    { schemaVersion: 2, mediaType, config: configDescriptor, layers: descriptors },
    mediaType,
  );
  return {
    ...memorySource("memory:image", manifest, [], blobs),
    manifest,
    blobs,
    layers: descriptors,
    diffIds,
    configDigest: configDescriptor.digest,
  };
}

/** An index of images, as a source of copies. */
export function makeTestIndex(
  images: readonly { readonly image: TestImage; readonly platform: Platform }[],
  format: ManifestFormat = "oci",
): ImageSource & { readonly manifest: ManifestBytes; readonly reads: Digest[] } {
  const mediaType = format === "oci" ? mediaTypes.ociIndex : mediaTypes.dockerManifestList;
  const manifests = images.map(({ image, platform }) => ({ ...image.manifest.descriptor, platform }));
  const manifest = manifestOf({ schemaVersion: 2, mediaType, manifests }, mediaType);
  const blobs = new Map(images.flatMap(({ image }) => [...image.blobs]));
  return {
    ...memorySource(
      "memory:index",
      manifest,
      images.map(({ image }) => image.manifest),
      blobs,
    ),
    manifest,
  };
}

function memorySource(
  name: string,
  top: ManifestBytes,
  others: readonly ManifestBytes[],
  blobs: ReadonlyMap<Digest, Uint8Array>,
): ImageSource & { readonly reads: Digest[] } {
  const reads: Digest[] = [];
  const read = ({ digest }: Descriptor): Uint8Array => {
    const bytes = blobs.get(digest);
    if (!bytes) throw new OcidError("NOT_FOUND", `there is no blob ${digest}`);
    reads.push(digest);
    return bytes;
  };
  return {
    name,
    reads,
    identity: { transport: "memory", scopes: [name] },
    async getManifest(digest = top.descriptor.digest) {
      const found = [top, ...others].find(manifest => manifest.descriptor.digest === digest);
      if (!found) throw new OcidError("NOT_FOUND", `there is no manifest ${digest}`);
      return found;
    },
    async *openBlob(descriptor, { offset = 0 } = {}) {
      yield* chunksOf(read(descriptor).subarray(offset));
    },
    blobSource: async descriptor => ({
      kind: "stream",
      open: offset => chunksOf(read(descriptor).subarray(offset)),
    }),
  };
}

async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.byteLength; at += 64 * 1024) yield bytes.subarray(at, at + 64 * 1024);
}

async function makeTar(files: TestLayer["files"]): Promise<Buffer> {
  const tar = pack();
  for (const [name, content] of Object.entries(files))
    tar.entry({ name, mtime: new Date(0), mode: 0o644 }, Buffer.from(content as Uint8Array));
  tar.finalize();
  return await buffer(tar as AsyncIterable<Buffer>);
}

function squeeze(tar: Buffer, compression: LayerCompression, level: number): Buffer {
  if (compression === "gzip") return gzipSync(tar, { level });
  return compression === "zstd" ? zstdCompressSync(tar) : tar;
}

function manifestOf(document: object, mediaType: string): ManifestBytes {
  const bytes = Buffer.from(JSON.stringify(document));
  return { descriptor: { mediaType, digest: digestBytes(bytes), size: bytes.byteLength }, bytes };
}
