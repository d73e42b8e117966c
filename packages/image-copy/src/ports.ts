import type { BlobSource, Descriptor, DiffId, Digest } from "@ocid/spec";
import type { CallOptions } from "./image-source.ts";

/** What a layer became on disk. */
export interface StagedLayer extends AsyncDisposable {
  readonly diffId: DiffId;
  /** Digest and size of the blob as it arrived. */
  readonly digest: Digest;
  readonly size: number;
}

export interface StageLayerRequest {
  readonly descriptor: Descriptor;
  readonly source: BlobSource;
  /** What the image's config promises; a difference fails with DATA_LOSS before anything is published. */
  readonly diffId: DiffId;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of the blob that have arrived, in steps. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/** An image as the store keeps it. */
export interface ImageRecord {
  /** Hex of the config's digest. */
  readonly id: string;
  readonly names: readonly string[];
  /** Digest of the manifest, or of the index through which it was found. */
  readonly digest: Digest | undefined;
  /** Top layer; undefined for an image without layers. */
  readonly layerId: string | undefined;
  /** RFC 3339. */
  readonly created: string;
  /** Keys of the big data items, in the order in which they were stored. */
  readonly bigDataNames: readonly string[];
  readonly bigDataDigests: Readonly<Record<string, Digest>>;
  /** JSON of the tools that keep the image; containers/image notes the sizes of its signatures there. */
  readonly metadata?: string | undefined;
}

export interface LayerRecord {
  readonly id: string;
  readonly parentId: string | undefined;
  readonly diffId: DiffId | undefined;
  readonly diffSize: number | undefined;
  /** Digest and size of the blob it came from. */
  readonly compressedDigest: Digest | undefined;
  readonly compressedSize: number | undefined;
}

/** What copying to and from local storage needs of a store; `@ocid/storage` fits it. */
export interface ImageStorePort {
  /** The graph root, by which policies know the store. */
  readonly root?: string;
  listImages(): Promise<readonly ImageRecord[]>;
  /** By name, id, unique id prefix, or `repository@digest`. */
  findImage(reference: string): Promise<ImageRecord | undefined>;
  readImageData(imageId: string, key: string): Promise<Uint8Array>;
  /** The topmost layer of a stack, named by its diffIDs from the base up, if it is there and complete. */
  findLayer(stack: readonly DiffId[]): Promise<LayerRecord | undefined>;
  /** From the top layer down to the base. */
  layerChain(layerId: string): Promise<readonly LayerRecord[]>;
  /** Layers are likely to come: what takes a while to start for them can be started. */
  prepareForLayers?(): void;
  /** Fetches, verifies and unpacks into a place beside the store; publish it with `commitLayers` or dispose of it. */
  stageLayer(request: StageLayerRequest): Promise<StagedLayer>;
  /**
   * Publishes staged layers, durably: the first on top of those below it (diffIDs from the base up), each further one on
   * the one before. Finding one there already is success.
   */
  commitLayers(
    staged: readonly StagedLayer[],
    below: readonly DiffId[],
    options?: CallOptions,
  ): Promise<readonly LayerRecord[]>;
  /** The layer's uncompressed tar, bit for bit; its digest is the diffID. */
  openLayerTar(layerId: string, options?: CallOptions): AsyncIterable<Uint8Array>;
  /** Publishes an image whose layers are there, or adds the names and data to the one with this id. A name moves from the image that had it. */
  putImage(request: PutImageRequest, options?: CallOptions): Promise<ImageRecord>;
}

export interface PutImageRequest {
  readonly id: string;
  readonly names: readonly string[];
  /** All its diffIDs, from the base up. */
  readonly stack: readonly DiffId[];
  readonly created?: string | undefined;
  /** In this order: config, index if any, `manifest-<digest>`, `manifest`, then signatures. */
  readonly bigData: readonly { readonly key: string; readonly bytes: Uint8Array }[];
  /** Instead of what the image has. Default: as it is. */
  readonly metadata?: string | undefined;
}
