import { randomUUID } from "node:crypto";
import { type Descriptor, type Digest, digestBytes, parseManifest } from "@ocid/spec";
import { describeReferrer } from "../referrers.ts";

/** A blob of a test registry: bytes, or, for what is too large to keep, a function that makes any part of them. */
export interface TestBlob {
  readonly digest: Digest;
  readonly size: number;
  /** From the first byte, inclusive, to the last, exclusive. */
  read(from: number, to: number): Uint8Array;
}

/** One repository of a test registry. */
export class MemoryRepository {
  readonly blobs: Map<Digest, TestBlob> = new Map();
  readonly manifests: Map<Digest, { readonly bytes: Uint8Array; readonly mediaType: string }> = new Map();
  readonly tags: Map<string, Digest> = new Map();
  readonly uploads: Map<string, Buffer[]> = new Map();

  addBlob(blob: Uint8Array | TestBlob): Descriptor {
    const known =
      blob instanceof Uint8Array
        ? {
            digest: digestBytes(blob),
            size: blob.byteLength,
            read: (from: number, to: number) => blob.subarray(from, to),
          }
        : blob;
    this.blobs.set(known.digest, known);
    return { mediaType: "application/octet-stream", digest: known.digest, size: known.size };
  }

  addManifest(bytes: Uint8Array, mediaType: string, tag?: string): Descriptor {
    const digest = digestBytes(bytes);
    this.manifests.set(digest, { bytes, mediaType });
    if (tag !== undefined) this.tags.set(tag, digest);
    return { mediaType, digest, size: bytes.byteLength };
  }

  findManifest(
    name: string,
  ): { readonly digest: Digest; readonly bytes: Uint8Array; readonly mediaType: string } | undefined {
    const digest = this.tags.get(name) ?? (name as Digest);
    const found = this.manifests.get(digest);
    return found && { digest, ...found };
  }

  deleteManifest(digest: Digest): boolean {
    for (const [tag, target] of this.tags) if (target === digest) this.tags.delete(tag);
    return this.manifests.delete(digest);
  }

  subjectOf(bytes: Uint8Array): Digest | undefined {
    try {
      const parsed = parseManifest(bytes);
      return (parsed.kind === "image" ? parsed.manifest : parsed.index).subject?.digest;
    } catch {
      return undefined;
    }
  }

  referrers(subject: Digest): readonly Descriptor[] {
    return [...this.manifests].flatMap(([digest, { bytes, mediaType }]) =>
      this.subjectOf(bytes) === subject
        ? [describeReferrer({ mediaType, digest, size: bytes.byteLength }, bytes)]
        : [],
    );
  }

  startUpload(): string {
    const id = randomUUID();
    this.uploads.set(id, []);
    return id;
  }
}
