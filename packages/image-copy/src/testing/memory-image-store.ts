import { createReadStream } from "node:fs";
import { buffer } from "node:stream/consumers";
import { OcidError } from "@ocid/base";
import { decompress, downloadBlob } from "@ocid/layer";
import {
  type BlobSource,
  type DiffId,
  type Digest,
  digestBytes,
  digestHex,
  parseReference,
  referenceName,
  verifyBytes,
} from "@ocid/spec";
import type { ImageRecord, ImageStorePort, LayerRecord, StagedLayer } from "../ports.ts";

interface StoredLayer extends LayerRecord {
  readonly tar: Uint8Array;
}

interface StoredImage extends ImageRecord {
  readonly data: ReadonlyMap<string, Uint8Array>;
}

export interface MemoryImageStore extends ImageStorePort {
  /** Layers that are staged and neither published nor disposed of. */
  readonly stagedLayers: number;
  /** Blobs that were fetched so far. */
  readonly fetches: readonly Digest[];
}

/** An image store that keeps everything in memory, for tests: it verifies as the real one does, and unpacks nothing. */
export function createMemoryImageStore(): MemoryImageStore {
  const layers = new Map<string, StoredLayer>();
  const images = new Map<string, StoredImage>();
  const staged = new Map<StagedLayer, Uint8Array>();
  const fetches: Digest[] = [];
  const getLayer = (id: string): StoredLayer => {
    const layer = layers.get(id);
    if (!layer) throw new OcidError("NOT_FOUND", `layer ${id} is not in the store`);
    return layer;
  };
  return {
    root: "/memory",
    fetches,
    get stagedLayers() {
      return staged.size;
    },
    listImages: async () => [...images.values()],
    async findImage(reference) {
      return images.get(reference) ?? [...images.values()].find(image => isCalled(image, reference));
    },
    async readImageData(imageId, key) {
      const bytes = images.get(imageId)?.data.get(key);
      if (!bytes) throw new OcidError("NOT_FOUND", `image ${imageId} has no data ${key}`);
      return bytes;
    },
    findLayer: async stack => layers.get(layerId(stack)),
    async layerChain(id) {
      const chain: LayerRecord[] = [];
      for (let at: string | undefined = id; at !== undefined; at = chain.at(-1)!.parentId)
        chain.push(getLayer(at));
      return chain;
    },
    async stageLayer({ descriptor, source, diffId, signal, onBytes }) {
      fetches.push(descriptor.digest);
      const blob = (await readSource(source, descriptor.size, signal)).subarray(0, descriptor.size + 1);
      onBytes?.(blob.byteLength);
      verifyBytes(blob, descriptor);
      const tar = await buffer(decompress(chunksOf(blob), signal));
      verifyBytes(tar, { digest: diffId, size: tar.byteLength });
      const layer: StagedLayer = {
        diffId,
        digest: descriptor.digest,
        size: descriptor.size,
        [Symbol.asyncDispose]: async () => void staged.delete(layer),
      };
      staged.set(layer, tar);
      return layer;
    },
    async commitLayers(added, below) {
      if (below.length > 0) getLayer(layerId(below));
      return added.map((layer, at) => {
        const tar = staged.get(layer);
        if (!tar) throw new OcidError("FAILED_PRECONDITION", `layer ${layer.digest} is not staged`);
        const under = [...below, ...added.slice(0, at).map(({ diffId }) => diffId)];
        const id = layerId([...under, layer.diffId]);
        const record: StoredLayer = {
          id,
          parentId: under.length === 0 ? undefined : layerId(under),
          diffId: layer.diffId,
          diffSize: tar.byteLength,
          compressedDigest: layer.digest,
          compressedSize: layer.size,
          tar,
        };
        if (!layers.has(id)) layers.set(id, record);
        return layers.get(id)!;
      });
    },
    openLayerTar: id => chunksOf(getLayer(id).tar),
    async putImage({ id, names, stack, created, bigData, metadata }) {
      const top = stack.length === 0 ? undefined : getLayer(layerId(stack)).id;
      const before = images.get(id);
      if (before && before.layerId !== top)
        throw new OcidError("FAILED_PRECONDITION", `image ${id} has another top layer`);
      for (const [otherId, other] of images)
        if (otherId !== id)
          images.set(otherId, { ...other, names: other.names.filter(name => !names.includes(name)) });
      const data = new Map([
        ...(before?.data ?? []),
        ...bigData.map(({ key, bytes }) => [key, bytes] as const),
      ]);
      const digests = Object.fromEntries([...data].map(([key, bytes]) => [key, digestBytes(bytes)]));
      const first = [...data.keys()].find(key => key.startsWith("manifest"));
      const image: StoredImage = {
        id,
        names: [...new Set([...names, ...(before?.names ?? [])])],
        digest: first === undefined ? undefined : digests[first],
        layerId: top,
        created: created ?? before?.created ?? "1970-01-01T00:00:00Z",
        bigDataNames: [...data.keys()],
        bigDataDigests: digests,
        metadata: metadata ?? before?.metadata,
        data,
      };
      images.set(id, image);
      return image;
    },
  };
}

/** As containers/storage: the base layer's id is its diffID, further ones hash the parent's id with theirs. */
function layerId(stack: readonly DiffId[]): string {
  let id = "";
  for (const diffId of stack)
    id = id === "" ? digestHex(diffId) : digestHex(digestBytes(`${id}+${digestHex(diffId)}`));
  return id;
}

function isCalled(image: ImageRecord, reference: string): boolean {
  if (image.names.includes(reference)) return true;
  try {
    const wanted = parseReference(reference);
    if (wanted.digest === undefined) return image.names.includes(`${referenceName(wanted)}:${wanted.tag}`);
    return (
      Object.values(image.bigDataDigests).includes(wanted.digest) &&
      image.names.some(name => referenceName(parseReference(name)) === referenceName(wanted))
    );
  } catch {
    return false;
  }
}

async function readSource(source: BlobSource, size: number, signal?: AbortSignal): Promise<Uint8Array> {
  if (source.kind === "http") {
    const chunks: Uint8Array[] = [];
    await downloadBlob(source, { from: 0, signal, take: bytes => void chunks.push(Buffer.from(bytes)) });
    return Buffer.concat(chunks);
  }
  if (source.kind === "stream") return await buffer(source.open(0, signal));
  const start = source.offset ?? 0;
  if (size === 0) return Buffer.alloc(0);
  return await buffer(createReadStream(source.path, { start, end: start + size - 1 }));
}

async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.byteLength; at += 64 * 1024) yield bytes.subarray(at, at + 64 * 1024);
}
