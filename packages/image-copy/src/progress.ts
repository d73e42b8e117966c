import type { Descriptor } from "@ocid/spec";

/** What happens to a blob while an image is copied. Bytes count what has arrived, of the blob as it is stored at the source. */
export interface CopyProgress {
  readonly kind: "start" | "bytes" | "done" | "skipped";
  readonly descriptor: Descriptor;
  /** Bytes of this blob so far. */
  readonly bytes: number;
  /** Of the whole image, as far as it is known. */
  readonly totalBytes: number;
  readonly copiedBytes: number;
  /** Of what has really been moved since the copy began; 0 until there is something to tell. */
  readonly bytesPerSecond: number;
  /** What the rest takes at this rate; undefined where nothing can be told yet. */
  readonly secondsLeft: number | undefined;
}

export type OnProgress = (event: CopyProgress) => void;

/** Adds blobs' progress up. A blob that occurs twice counts once. */
export class ProgressMeter {
  readonly #listener: OnProgress | undefined;
  readonly #bytes = new Map<string, number>();
  readonly #begin = performance.now();
  #total = 0;
  #copied = 0;
  #moved = 0;

  constructor(listener: OnProgress | undefined) {
    this.#listener = listener;
  }

  expect(descriptors: readonly Descriptor[]): void {
    for (const { digest, size } of descriptors) {
      if (this.#bytes.has(digest)) continue;
      this.#bytes.set(digest, 0);
      this.#total += size;
    }
  }

  start(descriptor: Descriptor): void {
    this.#tell("start", descriptor, this.#bytes.get(descriptor.digest) ?? 0);
  }

  bytes(descriptor: Descriptor, bytes: number): void {
    this.#tell("bytes", descriptor, Math.min(bytes, descriptor.size));
  }

  done(descriptor: Descriptor, skipped: boolean): void {
    this.#tell(skipped ? "skipped" : "done", descriptor, descriptor.size);
  }

  /** Passes a blob's bytes on and counts them, from the `offset` at which they begin. */
  async *count(
    descriptor: Descriptor,
    offset: number,
    chunks: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const count = this.counter(descriptor, offset);
    for await (const chunk of chunks) {
      count(chunk.byteLength);
      yield chunk;
    }
  }

  /** Counts a blob's bytes as they come behind an offset. */
  counter(descriptor: Descriptor, offset: number): (length: number) => void {
    let bytes = offset;
    if (offset > 0) {
      this.bytes(descriptor, bytes);
      // They were moved by an earlier copy, and say nothing of how fast this one is.
      this.#moved -= offset;
    }
    return length => {
      bytes += length;
      this.bytes(descriptor, bytes);
    };
  }

  #tell(kind: CopyProgress["kind"], descriptor: Descriptor, bytes: number): void {
    const more = bytes - (this.#bytes.get(descriptor.digest) ?? 0);
    this.#copied += more;
    if (kind !== "skipped") this.#moved += more;
    this.#bytes.set(descriptor.digest, bytes);
    if (!this.#listener) return;
    const seconds = (performance.now() - this.#begin) / 1000;
    const bytesPerSecond = seconds > 0 ? Math.round(Math.max(0, this.#moved) / seconds) : 0;
    const left = this.#total - this.#copied;
    this.#listener({
      kind,
      descriptor,
      bytes,
      totalBytes: this.#total,
      copiedBytes: this.#copied,
      bytesPerSecond,
      secondsLeft:
        bytesPerSecond > 0 || left === 0 ? Math.ceil(left / Math.max(1, bytesPerSecond)) : undefined,
    });
  }
}
