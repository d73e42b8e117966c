import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { type Descriptor, type Digest, digestBytes, mediaTypes } from "@ocid/spec";
import { type Header, pack } from "tar-stream";
import type { ImageSource } from "../image-source.ts";

/** An entry of a layer, as its archive has it. */
export type LayerEntry = Partial<Header> & { readonly name: string; readonly content?: string };

export interface ImageOfEntries {
  readonly source: ImageSource;
  readonly blobs: Map<Digest, Uint8Array>;
  /** Digests of the layers that were read, in order. */
  readonly fetched: Digest[];
  /** Of the layers, from the base up. */
  readonly layers: readonly Digest[];
}

/** An image whose layers are what is written here, entry by entry, from the base up. */
export async function makeImageOfEntries(
  entries: readonly (readonly LayerEntry[])[],
  configFields: object = {},
): Promise<ImageOfEntries> {
  const blobs = new Map<Digest, Uint8Array>();
  const keep = (mediaType: string, bytes: Uint8Array): Descriptor => {
    const digest = digestBytes(bytes);
    blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.byteLength };
  };
  const tars = await Promise.all(
    entries.map(async layer => {
      const tar = pack();
      for (const { content = "", ...header } of layer)
        tar.entry({ mode: 0o644, mtime: new Date(0), ...header }, content);
      tar.finalize();
      return await buffer(tar as AsyncIterable<Buffer>);
    }),
  );
  const config = keep(
    mediaTypes.ociConfig,
    Buffer.from(
      JSON.stringify({
        os: "linux",
        architecture: "amd64",
        ...configFields,
        rootfs: { type: "layers", diff_ids: tars.map(tar => digestBytes(tar)) },
      }),
    ),
  );
  const layers = tars.map(tar => keep(mediaTypes.ociLayerGzip, gzipSync(tar)));
  const bytes = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers }),
  );
  const fetched: Digest[] = [];
  const source: ImageSource = {
    name: "memory:test",
    getManifest: async () => ({
      bytes,
      descriptor: { mediaType: mediaTypes.ociManifest, digest: digestBytes(bytes), size: bytes.byteLength },
    }),
    async *openBlob({ digest }) {
      if (digest !== config.digest) fetched.push(digest);
      yield blobs.get(digest)!;
    },
    blobSource: () => Promise.reject(new Error("not used")),
  };
  return { source, blobs, fetched, layers: layers.map(({ digest }) => digest) };
}
