import { setTimeout as sleep } from "node:timers/promises";
import { isOcidError, OcidError, Pace } from "@ocid/base";
import { type Descriptor, referenceName } from "@ocid/spec";
import type { CallOptions } from "./call-options.ts";
import { isPassing, type RegistryResponse, retryAfterOf } from "./endpoint.ts";
import type { Place } from "./places.ts";
import { steadily } from "./read-body.ts";
import { discard } from "./transport.ts";

/** Bytes `from`, inclusive, to `to`, exclusive. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

const maxFailures = 6;
/** A connection that brings less than this before it breaks has not got on. */
const progressBytes = 64 * 1024;

/**
 * Reads a part of a blob to its end, going on where a broken connection stopped. `ranged` asks for just that part, and
 * fails with OUT_OF_RANGE where the registry sends everything.
 */
export async function* readRange(
  place: Place,
  descriptor: Descriptor,
  range: Range,
  options: CallOptions & { readonly ranged?: boolean },
): AsyncGenerator<Uint8Array, void, undefined> {
  let { from } = range;
  for (let failures = 0; from < range.to || range.to === 0; ) {
    const before = from;
    try {
      const response = await requestRange(place, descriptor, { from, to: range.to }, options);
      for await (const chunk of bodyFrom(place, response, descriptor, from)) {
        // One byte more than there should be is enough to notice.
        const wanted = options.ranged ? chunk.subarray(0, range.to - from) : chunk;
        from += wanted.byteLength;
        yield wanted;
        if (from > range.to || (options.ranged && from === range.to)) return;
      }
      return;
    } catch (error) {
      failures = from - before >= progressBytes ? 1 : failures + 1;
      if (options.signal?.aborted || !isPassing(error) || failures >= maxFailures) throw error;
      const backoff = Math.min(10_000, 100 * 2 ** failures) * (0.5 + Math.random() / 2);
      await sleep(
        retryAfterOf(error) ?? backoff,
        undefined,
        options.signal ? { signal: options.signal } : {},
      );
    }
  }
}

async function requestRange(
  { endpoint, reference }: Place,
  descriptor: Descriptor,
  { from, to }: Range,
  { signal, ranged = false }: CallOptions & { readonly ranged?: boolean },
): Promise<RegistryResponse> {
  const { repository } = reference;
  const what = `fetch ${descriptor.digest} of ${referenceName(reference)}`;
  const range = ranged ? `bytes=${from}-${to - 1}` : from > 0 ? `bytes=${from}-` : undefined;
  const response = await endpoint.send({
    method: "GET",
    path: `/v2/${repository}/blobs/${descriptor.digest}`,
    access: { repository, actions: ["pull"] },
    headers: range === undefined ? {} : { range },
    expect: [200, 206],
    what,
    byDigest: true,
    // Who reads the range tries again.
    attempts: 1,
    signal,
  });
  if (ranged && response.status === 200) {
    discard(response);
    throw new OcidError("OUT_OF_RANGE", `${what}: the registry sends no ranges`, { reason: "NoRanges" });
  }
  return response;
}

/** A response's bytes from the offset on. DATA_LOSS when it says that it holds something else. */
async function* bodyFrom(
  { endpoint }: Place,
  response: RegistryResponse,
  { digest, size }: Descriptor,
  from: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { headers, status, url } = response;
  const start = status === 206 ? from : 0;
  if (status === 206 && !isRangeFrom(headers["content-range"], from, size)) {
    discard(response);
    throw new OcidError("DATA_LOSS", `${url.host} sent another part of ${digest} than was asked for`, {
      reason: "RangeMismatch",
    });
  }
  const length = headers["content-length"];
  if (length !== undefined && (status === 200 ? Number(length) !== size : Number(length) > size - from)) {
    discard(response);
    throw new OcidError(
      "DATA_LOSS",
      `${url.host} announces ${length} bytes of ${digest}, expected ${size - start}`,
      { reason: "SizeMismatch" },
    );
  }
  // A registry that does not know Range sends everything again.
  let skip = from - start;
  for await (const chunk of steadily(response, new Pace({ windowMs: endpoint.timeouts.slowMs }))) {
    if (skip < chunk.byteLength) yield chunk.subarray(skip);
    skip = Math.max(0, skip - chunk.byteLength);
  }
}

function isRangeFrom(header: string | undefined, from: number, size: number): boolean {
  const [, first, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(header ?? "") ?? [];
  return Number(first) === from && (total === "*" || Number(total) === size);
}

/** Whether a failure says that this place cannot give the blob, so that another one may be asked. */
export function isElsewhere(error: unknown): boolean {
  return (
    isOcidError(error) &&
    ["NOT_FOUND", "UNAVAILABLE", "PERMISSION_DENIED", "UNAUTHENTICATED"].includes(error.code)
  );
}
