import { setImmediate } from "node:timers/promises";
import { codeOf, linkSignal } from "@ocid/base";
import type { HttpBlobSource } from "@ocid/spec";
import { downloadBlob } from "./http-blob.ts";
import type { PartialBlob } from "./partial-blob.ts";

export interface DownloadOptions {
  /** Bytes of the whole blob. */
  readonly size: number;
  /** Most connections at once. One: nothing is asked for in parts. */
  readonly connections: number;
  readonly signal: AbortSignal;
  /** Called with all bytes in their order, whether they were here or have just come. */
  readonly deliver: (bytes: Uint8Array) => void;
}

/** Smaller blobs are not worth a second connection. */
export const parallelBytes: number = 48 * 1024 * 1024;
const leastPartBytes = 16 * 1024 * 1024;
/** A part is a file, and files are open while the blob comes. */
const mostParts = 64;

const replayBuffer = Buffer.allocUnsafeSlow(1024 * 1024);

/** Delivers what is kept from an offset on; returns where that ends. */
export async function replay(
  partial: PartialBlob,
  from: number,
  deliver: (bytes: Uint8Array) => void,
  signal: AbortSignal,
): Promise<number> {
  let at = from;
  for (let count = 1; count > 0; at += count) {
    count = partial.read(at, replayBuffer);
    if (count === 0) return at;
    deliver(replayBuffer.subarray(0, count));
    await setImmediate();
    signal.throwIfAborted();
  }
  return at;
}

/**
 * Downloads what a partial blob lacks, in several parts at once, and keeps it there; delivers the whole in its order, in
 * this thread. The part whose turn it is is delivered straight from the socket, those ahead of it are read back later.
 * Where the server sends no ranges, the rest comes over one connection.
 */
export async function downloadInParts(
  source: HttpBlobSource,
  partial: PartialBlob,
  options: DownloadOptions,
): Promise<void> {
  const { size, connections, signal } = options;
  const order = new InOrder(partial, options);
  await order.catchUp();
  if (connections > 1) {
    try {
      await downloadGaps(source, partial, order, options);
    } catch (error) {
      signal.throwIfAborted();
      // Who cannot do ranges, or does them wrong, may still send the whole.
      if (!["OUT_OF_RANGE", "FAILED_PRECONDITION", "DATA_LOSS"].includes(codeOf(error)) || order.failed)
        throw error;
    }
    await order.catchUp();
  }
  if (order.delivered === size) return;
  let at = order.delivered;
  await downloadBlob(source, {
    from: at,
    signal,
    take: bytes => {
      order.take(at, bytes);
      at += bytes.byteLength;
    },
  });
}

async function downloadGaps(
  source: HttpBlobSource,
  partial: PartialBlob,
  order: InOrder,
  { size, connections, signal }: DownloadOptions,
): Promise<void> {
  const gaps = [...partial.gaps(Math.max(leastPartBytes, Math.ceil(size / mostParts)))];
  using link = linkSignal(signal);
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  const lane = async () => {
    for (let gap = gaps.shift(); gap !== undefined; gap = gaps.shift()) {
      let at = gap.from;
      await downloadBlob(source, {
        ...gap,
        signal: link.signal,
        take: bytes => {
          answer();
          order.take(at, bytes);
          at += bytes.byteLength;
        },
      });
      await order.catchUp();
    }
  };
  const failed: unknown[] = [];
  const watched = () =>
    lane().catch(error => {
      failed.push(error);
      answer();
      link.abort(error);
    });
  // The first answer says whether the server sends ranges at all.
  const lanes = [watched()];
  await Promise.race([answered, lanes[0]]);
  if (failed.length === 0)
    for (let more = Math.min(connections - 1, gaps.length); more > 0; more--) lanes.push(watched());
  await Promise.all(lanes);
  if (failed.length > 0) throw failed[0];
}

/** Delivers bytes that come in any order in the right one. */
class InOrder {
  readonly #partial: PartialBlob;
  readonly #options: DownloadOptions;
  #isCatchingUp = false;
  delivered = 0;
  /** Whether the taker, not the download, has failed. */
  failed = false;

  constructor(partial: PartialBlob, options: DownloadOptions) {
    this.#partial = partial;
    this.#options = options;
  }

  take(offset: number, bytes: Uint8Array): void {
    this.#partial.write(offset, bytes);
    if (offset !== this.delivered || this.#isCatchingUp) return;
    this.#deliver(bytes);
  }

  /** Delivers what has come ahead of its turn. */
  async catchUp(): Promise<void> {
    if (this.#isCatchingUp) return;
    this.#isCatchingUp = true;
    try {
      await replay(this.#partial, this.delivered, bytes => this.#deliver(bytes), this.#options.signal);
    } finally {
      this.#isCatchingUp = false;
    }
  }

  #deliver(bytes: Uint8Array): void {
    try {
      this.#options.deliver(bytes);
    } catch (error) {
      this.failed = true;
      throw error;
    }
    this.delivered += bytes.byteLength;
  }
}
