import { isOcidError, linkSignal } from "@ocid/base";
import { type Descriptor, verifyStream } from "@ocid/spec";
import type { CallOptions } from "./call-options.ts";
import type { Place } from "./places.ts";
import { isElsewhere, type Range, readRange } from "./read-blob.ts";

export interface OpenBlobOptions extends CallOptions {
  /** First byte wanted. Default 0; from elsewhere on, the bytes are the caller's to verify. */
  readonly offset?: number | undefined;
  /** False where whoever takes the bytes holds them against the descriptor, so that they are not digested twice. Default true. */
  readonly verify?: boolean | undefined;
  /**
   * Connections for one large blob, which is then fetched in ranges where the registry allows it. Default 4; each holds
   * up to 8 MiB in memory.
   */
  readonly connections?: number | undefined;
}

const rangeBytes = 8 * 1024 * 1024;
/** Smaller blobs are not worth a second connection. */
const parallelBytes = 4 * rangeBytes;

/** A blob's bytes in their order, from the first place that has it. Size and digest are verified when it is read from its start, unless `verify` is false. */
export async function* openBlob(
  places: readonly Place[],
  descriptor: Descriptor,
  options: OpenBlobOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  let position = options.offset ?? 0;
  const chunks = async function* () {
    for (const [at, place] of places.entries()) {
      try {
        for await (const chunk of readFrom(place, descriptor, position, options)) {
          position += chunk.byteLength;
          yield chunk;
        }
        return;
      } catch (error) {
        options.signal?.throwIfAborted();
        if (at === places.length - 1 || !isElsewhere(error)) throw error;
      }
    }
  };
  yield* position === 0 && options.verify !== false ? verifyStream(chunks(), descriptor) : chunks();
}

async function* readFrom(
  place: Place,
  descriptor: Descriptor,
  offset: number,
  options: OpenBlobOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { connections = 4, signal } = options;
  let from = offset;
  if (connections > 1 && descriptor.size - offset >= parallelBytes) {
    try {
      for await (const chunk of readInRanges(place, descriptor, offset, { connections, signal })) {
        from += chunk.byteLength;
        yield chunk;
      }
      return;
    } catch (error) {
      signal?.throwIfAborted();
      // Who cannot do ranges, or does them wrong, may still send the whole.
      if (!isOcidError(error) || !["OUT_OF_RANGE", "DATA_LOSS", "FAILED_PRECONDITION"].includes(error.code))
        throw error;
    }
  }
  yield* readRange(place, descriptor, { from, to: descriptor.size }, { signal });
}

/** Fetches several ranges at once and yields them in their order; those ahead wait in memory. */
async function* readInRanges(
  place: Place,
  descriptor: Descriptor,
  offset: number,
  options: CallOptions & { readonly connections: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  using link = linkSignal(options.signal);
  // The chunks are kept as they came: filling a buffer with them cost more than fetching them.
  const fetchRange = async (range: Range): Promise<readonly Uint8Array[]> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of readRange(place, descriptor, range, { signal: link.signal, ranged: true }))
      chunks.push(chunk);
    return chunks;
  };
  const ahead: Promise<readonly Uint8Array[]>[] = [];
  let next = offset;
  const begin = () => {
    if (next >= descriptor.size) return;
    const work = fetchRange({ from: next, to: Math.min(next + rangeBytes, descriptor.size) });
    work.catch(() => {});
    ahead.push(work);
    next += rangeBytes;
  };
  try {
    // The first answer says whether the registry does this at all.
    begin();
    await ahead[0];
    while (ahead.length < options.connections && next < descriptor.size) begin();
    for (let work = ahead.shift(); work !== undefined; work = ahead.shift()) {
      const chunks = await work;
      begin();
      yield* chunks;
    }
  } finally {
    link.abort();
    await Promise.allSettled(ahead);
  }
}
