import { createHash } from "node:crypto";
import { OcidError } from "@ocid/base";
import { compress, createLayerTar } from "@ocid/layer";
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
import type { CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";

export interface ImportOptions extends CallOptions {
  /** How containers of the image run. */
  readonly config?: ImageExecution;
  readonly platform?: Platform;
  /** RFC 3339. Default: now. With the same directory and time the image is the same. */
  readonly created?: string;
}

/** An image of one layer, made of a directory: a source to copy from into any destination. */
export async function importDirectory(directory: string, options: ImportOptions = {}): Promise<ImageSource> {
  const tar = createHash("sha256");
  const blob = createHash("sha256");
  let size = 0;
  const archive = async function* () {
    for await (const chunk of createLayerTar(directory, options)) {
      tar.update(chunk);
      yield chunk;
    }
  };
  for await (const chunk of compress(archive(), "gzip", options.signal)) {
    blob.update(chunk);
    size += chunk.byteLength;
  }
  const layer: Descriptor = {
    mediaType: mediaTypes.ociLayerGzip,
    digest: `sha256:${blob.digest("hex")}` as Digest,
    size,
  };
  const diffId = `sha256:${tar.digest("hex")}` as DiffId;
  const created = options.created ?? new Date().toISOString();
  const { os, architecture, variant } = options.platform ?? currentPlatform();
  const config = Buffer.from(
    JSON.stringify({
      created,
      architecture,
      ...(variant === undefined ? {} : { variant }),
      os,
      config: options.config ?? {},
      rootfs: { type: "layers", diff_ids: [diffId] },
      history: [{ created, created_by: "ocic import" }],
    }),
  );
  const configDescriptor: Descriptor = {
    mediaType: mediaTypes.ociConfig,
    digest: digestBytes(config),
    size: config.byteLength,
  };
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: configDescriptor,
      layers: [layer],
    }),
  );
  const manifest: ManifestBytes = {
    descriptor: { mediaType: mediaTypes.ociManifest, digest: digestBytes(bytes), size: bytes.byteLength },
    bytes,
  };
  const open = (descriptor: Descriptor, signal?: AbortSignal): AsyncIterable<Uint8Array> => {
    if (descriptor.digest === layer.digest)
      return compress(createLayerTar(directory, { signal }), "gzip", signal);
    return (async function* () {
      yield config;
    })();
  };
  return {
    name: directory,
    async getManifest(digest) {
      if (digest !== undefined && digest !== manifest.descriptor.digest)
        throw new OcidError("NOT_FOUND", `${directory} has no manifest ${digest}`);
      return manifest;
    },
    openBlob: (descriptor, more) => open(descriptor, more?.signal),
    blobSource: async descriptor => ({
      kind: "stream",
      async *open(offset, signal) {
        let left = offset;
        for await (const chunk of open(descriptor, signal)) {
          if (left < chunk.byteLength) yield chunk.subarray(left);
          left = Math.max(0, left - chunk.byteLength);
        }
      },
    }),
  };
}
