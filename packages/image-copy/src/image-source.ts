import type { BlobSource, Descriptor, Digest } from "@ocid/spec";
import type { ImageSignature } from "./signatures/image-signature.ts";

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface OpenBlobOptions extends CallOptions {
  /** First byte wanted, for a download that goes on. Only reads from the start are verified by the source. Default 0. */
  readonly offset?: number | undefined;
  /** False where whoever takes the bytes verifies them, as every destination does: digesting twice is for nothing. Default true. */
  readonly verify?: boolean | undefined;
}

export interface ManifestBytes {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

export interface SignatureOptions extends CallOptions {
  /** Also those of sigstore's that take a further request, unless registries.d says no. Default false. */
  readonly bundles?: boolean | undefined;
}

/** Where an image is copied from. All it returns is checked by whoever uses it. */
export interface ImageSource extends Partial<AsyncDisposable> {
  /** For people: `docker://registry/repository:tag`, `oci:dir:tag` … */
  readonly name: string;
  /** What policies know the image by; a source without it cannot be held against a policy. */
  readonly identity?: PolicyIdentity;
  /** The manifest or index that the source's reference points at, or the one of a digest. */
  getManifest(digest?: Digest, options?: CallOptions): Promise<ManifestBytes>;
  /** A blob's bytes, verified as they come, unless that is left to the caller. */
  openBlob(descriptor: Descriptor, options?: OpenBlobOptions): AsyncIterable<Uint8Array>;
  /**
   * The same from an offset on without a stream in between, where the source has it so: half the work. A piece's memory
   * is used again when the next one is asked for. Nothing is verified, and nothing tried twice: when it fails, or ends
   * early, `openBlob` can go on behind it.
   */
  receiveBlob?(
    descriptor: Descriptor,
    options: CallOptions & { readonly offset: number },
  ): AsyncIterable<Uint8Array>;
  /** Signatures of a manifest, as they are kept with the image; not verified. */
  getSignatures?(digest: Digest, options?: SignatureOptions): Promise<readonly ImageSignature[]>;
  /** Where a blob's bytes can be had without going through this process's main thread; they are not verified yet. */
  blobSource(descriptor: Descriptor, options?: CallOptions): Promise<BlobSource>;
  /** `registry/repository` when blobs could be taken over within a registry. */
  readonly mountFrom?: string;
  /** The manifest was made up for this copy, so that nobody knows its digest and layers may be compressed freely. */
  readonly madeUp?: boolean;
  /** Set where layers are kept unpacked, so that `openBlob` has no layer: the uncompressed tar of the layer at a place. */
  readonly unpacked?: UnpackedLayers;
}

/** Layers of an image that are kept as files; compressing them again may give another blob than the manifest names. */
export interface UnpackedLayers {
  /** Size of the layer's tar in bytes, where it is known without reading it. */
  sizeOf(at: number): number | undefined;
  openTar(at: number, options?: CallOptions): AsyncIterable<Uint8Array>;
}

/** How a policy finds its rules for an image: containers-policy.json(5), "transports". */
export interface PolicyIdentity {
  readonly transport: string;
  /** From the image itself to the widest namespace, most specific first. */
  readonly scopes: readonly string[];
  /** `registry/repository:tag` or `…@digest`, where the image is named like that. */
  readonly reference?: string;
}

export interface PutBlobOptions extends CallOptions {
  readonly mountFrom?: string | undefined;
}

/** Where an image is copied to, blob by blob: a registry, a layout, a directory, an archive. */
export interface BlobDestination extends Partial<AsyncDisposable> {
  readonly kind: "blobs";
  readonly name: string;
  /** How layers that are not compressed are wanted; `plain` also has compressed ones unpacked. Default: as they are. */
  readonly layers?: "compressed" | "plain";
  /** The format of manifests that readers of the destination expect, where there is but one. */
  readonly format?: "oci" | "docker";
  /** False where other formats cannot be held at all, even when digests are to be preserved. Default true. */
  readonly holdsOtherFormats?: boolean;
  /** False where there is room for one image only. Default true. */
  readonly holdsIndexes?: boolean;
  hasBlob(descriptor: Descriptor, options?: CallOptions): Promise<boolean>;
  /**
   * Stores a blob, once its bytes are verified (DATA_LOSS when they are not the descriptor's); returns false when the
   * destination already had it or took it over by itself. `open` may be called again, and with the first byte wanted:
   * what was kept of an interrupted copy is not read again. The memory of what it yields may be used again when more is
   * asked for.
   */
  putBlob(
    descriptor: Descriptor,
    open: (offset?: number) => AsyncIterable<Uint8Array>,
    options?: PutBlobOptions,
  ): Promise<boolean>;
  /** Stores a manifest; `named` makes the destination's reference point at it. */
  putManifest(manifest: ManifestBytes, named: boolean, options?: CallOptions): Promise<void>;
  /** Called once after everything is there, where that takes more than the manifests. */
  commit?(options?: CallOptions): Promise<void>;
}
