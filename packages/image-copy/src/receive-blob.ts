import { setTimeout as sleep } from "node:timers/promises";
import { codeOf, linkSignal } from "@ocid/base";
import { downloadBlob } from "@ocid/layer";
import type { HttpBlobSource } from "@ocid/spec";
import type { CallOptions } from "./image-source.ts";
import { PieceQueue } from "./piece-queue.ts";
import { SourceTime } from "./source-time.ts";

export interface ReceiveOptions extends CallOptions {
  /** The first byte wanted. */
  readonly offset: number;
  /** Bytes of the whole blob. */
  readonly size: number;
  /** A connection that was waited for no longer than this for the first 8 MiB is not helped by others. Default 80. */
  readonly fastMs?: number | undefined;
}

type Take = (bytes: Uint8Array) => void | Promise<void>;

const connections = 4;
const rangeBytes = 8 * 1024 * 1024;
/** Smaller blobs are not worth a second connection. */
const parallelBytes = 4 * rangeBytes;

/**
 * Receives a blob from the socket, without a stream in between; a piece's memory is used again when the next one is
 * asked for. Large blobs come in ranges over several connections where the server does that and one alone is not fast;
 * those ahead of their turn wait in memory. What breaks is not gone on from here. Nothing is verified.
 */
export async function* receiveBlob(
  source: HttpBlobSource,
  options: ReceiveOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  using link = linkSignal(options.signal);
  const queue = new PieceQueue();
  const received = receive(source, { ...options, signal: link.signal }, bytes => queue.put(bytes)).then(
    () => queue.end(),
    error => queue.end(error),
  );
  try {
    yield* queue.pieces();
  } finally {
    link.abort();
    await received;
  }
}

async function receive(source: HttpBlobSource, options: ReceiveOptions, put: Take): Promise<void> {
  const { size, signal } = options;
  let { offset } = options;
  const take: Take = bytes => {
    offset += bytes.byteLength;
    return put(bytes);
  };
  if (size - offset >= parallelBytes) {
    try {
      return await receiveRanges(source, { ...options, offset }, take);
    } catch (error) {
      signal?.throwIfAborted();
      // Who cannot do ranges, or does them wrong, may still send the whole.
      if (!["OUT_OF_RANGE", "DATA_LOSS", "FAILED_PRECONDITION"].includes(codeOf(error))) throw error;
    }
  }
  await downloadBlob(source, { from: offset, signal, attempts: 1, take });
}

async function receiveRanges(source: HttpBlobSource, options: ReceiveOptions, take: Take): Promise<void> {
  const { offset, size, signal, fastMs = 80 } = options;
  using link = linkSignal(signal);
  const spare: Buffer[] = [];
  const ahead: Range[] = [];
  let next = offset;
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  const begin = (bytes = rangeBytes) => {
    if (next >= size) return;
    const to = Math.min(next + bytes, size);
    ahead.push(new Range(source, { from: next, to, signal: link.signal, onAnswer: answer }, spare));
    next = to;
  };
  try {
    begin();
    const time = new SourceTime();
    const first = ahead[0]!.giveTo(bytes => {
      const wait = take(bytes);
      if (wait) time.hold(wait);
      return wait;
    });
    const isFast = await isDoneWithin(first, fastMs, time, link.signal);
    // The first answer says whether the server does this at all.
    await Promise.race([answered, first]);
    if (isFast) begin(size);
    else while (ahead.length < connections && next < size) begin();
    await first;
    for (ahead.shift(); ahead[0] !== undefined; ahead.shift()) {
      begin();
      await ahead[0].giveTo(take);
    }
  } finally {
    link.abort();
    await Promise.allSettled(ahead.map(range => range.done));
  }
}

/** Whether the source brings it before it was waited for that long. */
async function isDoneWithin(
  work: Promise<void>,
  ms: number,
  time: SourceTime,
  signal: AbortSignal,
): Promise<boolean> {
  const done = work.then(() => true);
  done.catch(() => {});
  for (let left = ms; left > 0; left = ms - time.ms) {
    const late = sleep(Math.max(1, left), false, { signal, ref: false });
    late.catch(() => {});
    if (await Promise.race([done, late])) return true;
  }
  return false;
}

interface RangeOptions {
  readonly from: number;
  readonly to: number;
  readonly signal: AbortSignal;
  readonly onAnswer: () => void;
}

const keptBytes = 256 * 1024;

/** A part of a blob that is on its way: kept until its turn comes, and from then on handed over as it comes. */
class Range {
  readonly done: Promise<void>;
  readonly #spare: Buffer[];
  #kept: Buffer[] = [];
  #lastBytes = keptBytes;
  #take: Take | undefined;

  /** `spare`: buffers that are used again, of all ranges of a blob. */
  constructor(source: HttpBlobSource, { onAnswer, ...range }: RangeOptions, spare: Buffer[]) {
    this.#spare = spare;
    this.done = downloadBlob(source, {
      ...range,
      attempts: 1,
      take: bytes => {
        onAnswer();
        return this.#take ? this.#take(bytes) : this.#keep(bytes);
      },
    });
    this.done.catch(() => {});
  }

  async giveTo(take: Take): Promise<void> {
    for (let buffer = this.#kept.shift(); buffer !== undefined; buffer = this.#kept.shift()) {
      const isLast = this.#kept.length === 0;
      const bytes = isLast ? buffer.subarray(0, this.#lastBytes) : buffer;
      if (isLast) this.#lastBytes = keptBytes;
      await take(bytes);
      this.#spare.push(buffer);
    }
    this.#take = take;
    await this.done;
  }

  #keep(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength; ) {
      if (this.#lastBytes === keptBytes) {
        this.#kept.push(this.#spare.pop() ?? Buffer.allocUnsafeSlow(keptBytes));
        this.#lastBytes = 0;
      }
      const some = bytes.subarray(at, at + keptBytes - this.#lastBytes);
      this.#kept.at(-1)!.set(some, this.#lastBytes);
      this.#lastBytes += some.byteLength;
      at += some.byteLength;
    }
  }
}
