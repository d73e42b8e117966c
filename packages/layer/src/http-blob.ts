import { setTimeout as sleep } from "node:timers/promises";
import { codeOf, OcidError, parseRetryAfter } from "@ocid/base";
import { redirectTarget } from "@ocid/base/redirects";
import type { HttpBlobSource } from "@ocid/spec";
import { httpGet } from "./http-connection.ts";
import type { ResponseHead } from "./http-response.ts";

export interface HttpBlobOptions {
  /** Bytes that are here already: the download goes on after them. */
  readonly from: number;
  /** The byte after the last one wanted. OUT_OF_RANGE when the server sends everything instead. Default: the blob's end. */
  readonly to?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Default 60 s. */
  readonly idleMs?: number;
  /** Less than 1 KiB a second for so long is given up, to begin anew. Default 30 s. */
  readonly slowMs?: number;
  /** How many connections in a row may bring next to nothing; with 1 the first that breaks is the last. Default 6. */
  readonly attempts?: number;
  /** The memory of the bytes is used again once it returns; a promise has the connection wait, but for what is on its way. */
  readonly take: (bytes: Uint8Array) => void | Promise<void>;
}

const maxRedirects = 10;
/** A connection that brings less than this before it breaks has not got on. */
const progressBytes = 64 * 1024;
/** Who asks to be left alone for longer is not waited for. */
const maxWaitMs = 5 * 60_000;

/**
 * Downloads a blob, going on where a broken connection stopped (Range). Redirects are followed without the credentials
 * as soon as they leave the origin. The caller verifies size and digest of the whole.
 */
export async function downloadBlob(source: HttpBlobSource, options: HttpBlobOptions): Promise<void> {
  let position = options.from;
  let headers = source.headers;
  let renewed = false;
  let complete = false;
  const { attempts = 6 } = options;
  for (let failures = 0; !complete; ) {
    const before = position;
    try {
      const answer = await follow(source, headers, position, options, bytes => {
        position += bytes.byteLength;
        return options.take(bytes);
      });
      if ((answer.status === 401 || answer.status === 403) && !renewed && source.renew) {
        const fresh = await source.renew(answer.headers["www-authenticate"]);
        if (!fresh) throw statusError(source.url, answer);
        headers = fresh;
        renewed = true;
        continue;
      }
      if (answer.status !== 200 && answer.status !== 206) throw statusError(source.url, answer);
      if (options.to !== undefined && position < options.to)
        throw new OcidError(
          "UNAVAILABLE",
          `${new URL(source.url).host} sent less of the blob than was asked for`,
        );
      complete = true;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (position === options.to) return;
      // A download that gets on each time is not failing.
      failures = position - before >= progressBytes ? 1 : failures + 1;
      const asked = retryAfterMs(error);
      if (codeOf(error) !== "UNAVAILABLE" || failures >= attempts || (asked ?? 0) > maxWaitMs) throw error;
      renewed = false;
      const wait = asked ?? Math.min(10_000, 200 * 2 ** failures) * (0.5 + Math.random() / 2);
      await sleep(wait, undefined, options.signal ? { signal: options.signal } : {});
    }
  }
}

async function follow(
  source: HttpBlobSource,
  headers: Readonly<Record<string, string>>,
  position: number,
  options: HttpBlobOptions,
  take: HttpBlobOptions["take"],
): Promise<ResponseHead> {
  const origin = new URL(source.url);
  let url = origin;
  for (let redirects = 0; ; redirects++) {
    const sameOrigin = url.origin === origin.origin;
    let answer: ResponseHead | undefined;
    let skip = 0;
    let taken = 0;
    await httpGet(
      {
        url,
        headers: {
          ...(sameOrigin ? headers : publicHeaders(headers)),
          ...rangeHeader(position, options.to),
        },
        tls: source.tls,
        proxy: source.proxy,
        idleMs: options.idleMs ?? 60_000,
        slowMs: options.slowMs ?? 30_000,
        redirected: url.origin !== origin.origin,
        signal: options.signal,
      },
      {
        onHead(head) {
          answer = head;
          if (head.status === 206) checkRange(head, position, url);
          if (head.status === 200 && options.to !== undefined)
            throw new OcidError("OUT_OF_RANGE", `${url.host} sends no ranges`, { reason: "NoRanges" });
          // A server that does not know Range sends everything again.
          if (head.status === 200) skip = position;
          return head.status === 200 || head.status === 206;
        },
        onBody(bytes) {
          const wanted = skip === 0 ? bytes : bytes.subarray(Math.min(skip, bytes.byteLength));
          skip -= bytes.byteLength - wanted.byteLength;
          if (options.to !== undefined && position + taken + wanted.byteLength > options.to)
            throw new OcidError("DATA_LOSS", `${url.host} sent more of the blob than was asked for`, {
              reason: "RangeMismatch",
            });
          taken += wanted.byteLength;
          return wanted.byteLength > 0 ? take(wanted) : undefined;
        },
      },
    );
    if (!answer) throw new OcidError("UNAVAILABLE", `${url.host} gave no answer`);
    if (![301, 302, 303, 307, 308].includes(answer.status)) return answer;
    if (redirects === maxRedirects)
      throw new OcidError("FAILED_PRECONDITION", `${origin.host} redirects more than ${maxRedirects} times`, {
        reason: "RedirectLoop",
      });
    url = redirectTarget(answer.headers["location"], url, "fetch a blob");
  }
}

function publicHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => ["accept", "user-agent"].includes(name.toLowerCase())),
  );
}

function rangeHeader(from: number, to: number | undefined): { readonly range?: string } {
  if (to !== undefined) return { range: `bytes=${from}-${to - 1}` };
  return from > 0 ? { range: `bytes=${from}-` } : {};
}

function checkRange(head: ResponseHead, position: number, url: URL): void {
  const start = /^bytes (\d+)-/.exec(head.headers["content-range"] ?? "")?.[1];
  if (Number(start) !== position)
    throw new OcidError("DATA_LOSS", `${url.host} sent another part of the blob than was asked for`, {
      reason: "RangeMismatch",
    });
}

function statusError(url: string, { status, headers }: ResponseHead): OcidError {
  const code =
    status === 404
      ? "NOT_FOUND"
      : status === 401
        ? "UNAUTHENTICATED"
        : status === 403
          ? "PERMISSION_DENIED"
          : status === 429 || status >= 500
            ? "UNAVAILABLE"
            : "FAILED_PRECONDITION";
  const retryAfterMs = parseRetryAfter(headers["retry-after"]);
  return new OcidError(code, `GET ${url}: the server answered ${status}`, {
    details: { status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) },
  });
}

function retryAfterMs(error: unknown): number | undefined {
  const wait = (error as OcidError).details?.["retryAfterMs"];
  return typeof wait === "number" ? wait : undefined;
}
