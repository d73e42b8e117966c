import { createHash } from "node:crypto";
import { OcidError } from "@ocid/base";
import { type Descriptor, digestAlgorithm, finishDigest } from "@ocid/spec";

/**
 * Reads the pieces of a blob that is uploaded, and holds the whole against its descriptor before its last byte goes out.
 * Pieces may be read again; a digest can only be found when they were read from the start.
 */
export class UploadVerifier {
  readonly #descriptor: Descriptor;
  readonly #open: (offset: number) => AsyncIterable<Uint8Array>;
  readonly #hash: ReturnType<typeof createHash>;
  #hashed = 0;
  /** What was wrong with the bytes, or with opening them. */
  failure: unknown;

  constructor(descriptor: Descriptor, open: (offset: number) => AsyncIterable<Uint8Array>) {
    this.#descriptor = descriptor;
    this.#open = open;
    this.#hash = createHash(digestAlgorithm(descriptor.digest));
  }

  async *read(from: number, to: number): AsyncGenerator<Uint8Array, void, undefined> {
    let at = from;
    let isConsumed = false;
    try {
      for await (const chunk of this.#open(from)) {
        const wanted = chunk.subarray(0, to - at);
        if (wanted.byteLength > 0) this.#take(wanted, at);
        at += wanted.byteLength;
        if (at === to && chunk.byteLength > wanted.byteLength && to === this.#descriptor.size)
          throw this.#wrongSize(`at least ${to + 1}`);
        if (at === to && to === this.#descriptor.size) this.#checkDigest();
        isConsumed = true;
        if (wanted.byteLength > 0) yield wanted;
        isConsumed = false;
        if (at === to && to < this.#descriptor.size) return;
      }
      if (at < to) throw this.#wrongSize(at);
    } catch (error) {
      if (!isConsumed) this.failure ??= error;
      throw error;
    }
  }

  #take(chunk: Uint8Array, at: number): void {
    if (at > this.#hashed) return;
    const fresh = chunk.subarray(this.#hashed - at);
    if (fresh.byteLength === 0) return;
    this.#hash.update(fresh);
    this.#hashed += fresh.byteLength;
  }

  #checkDigest(): void {
    const { digest, size } = this.#descriptor;
    if (this.#hashed !== size) return;
    const found = finishDigest(this.#hash.copy(), digestAlgorithm(digest));
    if (found !== digest)
      throw new OcidError("DATA_LOSS", `expected content with digest ${digest}, received ${found}`, {
        reason: "DigestMismatch",
      });
  }

  #wrongSize(found: number | string): OcidError {
    const { digest, size } = this.#descriptor;
    return new OcidError("DATA_LOSS", `${digest}: expected ${size} bytes, received ${found}`, {
      reason: "SizeMismatch",
    });
  }
}
