import { codeOf, linkSignal } from "@ocid/base";
import { downloadBlob } from "@ocid/layer";
import type { HttpBlobSource } from "@ocid/spec";
import type { ReceiveBlobOptions } from "./image-source.ts";

interface ReceiveOptions extends ReceiveBlobOptions {
  /** Bytes of the whole blob. */
  readonly size: number;
}

const connections = 4;
const rangeBytes = 8 * 1024 * 1024;
/** Smaller blobs are not worth a second connection. */
const parallelBytes = 4 * rangeBytes;

/**
 * Receives a blob from the socket into `take`, without a stream in between. Large ones come in ranges over several
 * connections where the server does that; those ahead of their turn wait in memory. What breaks is not gone on from
 * here. Nothing is verified.
 */
export async function receiveBlob(source: HttpBlobSource, options: ReceiveOptions): Promise<void> {
  const { size, signal } = options;
  let { offset } = options;
  let refused = false;
  const take = (bytes: Uint8Array) => {
    try {
      options.take(bytes);
    } catch (error) {
      refused = true;
      throw error;
    }
    offset += bytes.byteLength;
  };
  if (size - offset >= parallelBytes) {
    try {
      return await receiveRanges(source, { ...options, offset, take });
    } catch (error) {
      signal?.throwIfAborted();
      // Who cannot do ranges, or does them wrong, may still send the whole.
      if (refused || !["OUT_OF_RANGE", "DATA_LOSS", "FAILED_PRECONDITION"].includes(codeOf(error)))
        throw error;
    }
  }
  await downloadBlob(source, { from: offset, signal, attempts: 1, take });
}

async function receiveRanges(
  source: HttpBlobSource,
  { offset, size, signal, take }: ReceiveOptions,
): Promise<void> {
  using link = linkSignal(signal);
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  const ahead: Range[] = [];
  let next = offset;
  const begin = () => {
    if (next >= size) return;
    const to = Math.min(next + rangeBytes, size);
    ahead.push(new Range(source, { from: next, to, signal: link.signal, onAnswer: answer }));
    next = to;
  };
  try {
    // The first answer says whether the server does this at all.
    begin();
    await Promise.race([answered, ahead[0]!.done]);
    while (ahead.length < connections && next < size) begin();
    for (let range = ahead[0]; range !== undefined; range = ahead[0]) {
      await range.giveTo(take);
      ahead.shift();
      begin();
    }
  } finally {
    link.abort();
    await Promise.allSettled(ahead.map(range => range.done));
  }
}

interface RangeOptions {
  readonly from: number;
  readonly to: number;
  readonly signal: AbortSignal;
  readonly onAnswer: () => void;
}

/** A part of a blob that is on its way: kept until its turn comes, and from then on handed over as it comes. */
class Range {
  readonly done: Promise<void>;
  readonly #waiting: Buffer[] = [];
  #take: ((bytes: Uint8Array) => void) | undefined;

  constructor(source: HttpBlobSource, { onAnswer, ...range }: RangeOptions) {
    this.done = downloadBlob(source, {
      ...range,
      attempts: 1,
      take: bytes => {
        onAnswer();
        if (this.#take) this.#take(bytes);
        else this.#waiting.push(Buffer.from(bytes));
      },
    });
    this.done.catch(() => {});
  }

  async giveTo(take: (bytes: Uint8Array) => void): Promise<void> {
    for (const bytes of this.#waiting.splice(0)) take(bytes);
    this.#take = take;
    await this.done;
  }
}
