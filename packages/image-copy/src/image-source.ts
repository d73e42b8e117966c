import type { BlobSource, Descriptor, Digest } from "@ocid/spec";

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface ManifestBytes {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** Where an image is copied from. All it returns is checked by whoever uses it. */
export interface ImageSource {
  /** For people: `docker://registry/repository:tag`, `oci:dir:tag` … */
  readonly name: string;
  /** The manifest or index that the source's reference points at, or the one of a digest. */
  getManifest(digest?: Digest, options?: CallOptions): Promise<ManifestBytes>;
  /** A blob's bytes, verified as they come. */
  openBlob(descriptor: Descriptor, options?: CallOptions): AsyncIterable<Uint8Array>;
  /** Where a blob's bytes can be had without going through this process's main thread; they are not verified yet. */
  blobSource(descriptor: Descriptor, options?: CallOptions): Promise<BlobSource>;
  /** `registry/repository` when blobs could be taken over within a registry. */
  readonly mountFrom?: string;
}

/** Where an image is copied to, blob by blob: a registry, a layout, a directory. */
export interface BlobDestination {
  readonly kind: "blobs";
  readonly name: string;
  hasBlob(descriptor: Descriptor, options?: CallOptions): Promise<boolean>;
  /** Stores a blob; returns false when the destination already had it or took it over by itself. */
  putBlob(
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
    options?: CallOptions & { readonly mountFrom?: string | undefined },
  ): Promise<boolean>;
  /** Stores a manifest; `named` makes the destination's reference point at it. */
  putManifest(manifest: ManifestBytes, named: boolean, options?: CallOptions): Promise<void>;
}
