import { setTimeout as sleep } from "node:timers/promises";
import { codeOf, OcidError } from "@ocid/base";
import type { HttpBlobSource } from "@ocid/spec";
import { httpGet } from "./http-connection.ts";
import type { ResponseHead } from "./http-response.ts";

export interface HttpBlobOptions {
  /** Bytes that are here already: the download goes on after them. */
  readonly from: number;
  readonly signal?: AbortSignal | undefined;
  /** Default 60 s. */
  readonly idleMs?: number;
  readonly take: (bytes: Uint8Array) => void;
}

const maxRedirects = 10;
const maxFailures = 6;

/**
 * Downloads a blob, going on where a broken connection stopped (Range). Redirects are followed without the credentials
 * as soon as they leave the origin. The caller verifies size and digest of the whole.
 */
export async function downloadBlob(source: HttpBlobSource, options: HttpBlobOptions): Promise<void> {
  let position = options.from;
  let headers = source.headers;
  let renewed = false;
  let complete = false;
  for (let failures = 0; !complete; ) {
    const before = position;
    try {
      const answer = await follow(source, headers, position, options, bytes => {
        position += bytes.byteLength;
        options.take(bytes);
      });
      if ((answer.status === 401 || answer.status === 403) && !renewed && source.renew) {
        const fresh = await source.renew(answer.headers["www-authenticate"]);
        if (!fresh) throw statusError(source.url, answer);
        headers = fresh;
        renewed = true;
        continue;
      }
      if (answer.status !== 200 && answer.status !== 206) throw statusError(source.url, answer);
      complete = true;
    } catch (error) {
      options.signal?.throwIfAborted();
      // A download that gets on a little each time is not failing.
      failures = position > before ? 1 : failures + 1;
      if (codeOf(error) !== "UNAVAILABLE" || failures >= maxFailures) throw error;
      renewed = false;
      const wait = retryAfterMs(error) ?? Math.min(10_000, 200 * 2 ** failures) * (0.5 + Math.random() / 2);
      await sleep(wait, undefined, options.signal ? { signal: options.signal } : {});
    }
  }
}

async function follow(
  source: HttpBlobSource,
  headers: Readonly<Record<string, string>>,
  position: number,
  options: HttpBlobOptions,
  take: (bytes: Uint8Array) => void,
): Promise<ResponseHead> {
  const origin = new URL(source.url);
  let url = origin;
  for (let redirects = 0; ; redirects++) {
    const sameOrigin = url.origin === origin.origin;
    let answer: ResponseHead | undefined;
    let skip = 0;
    await httpGet(
      {
        url,
        headers: {
          ...(sameOrigin ? headers : publicHeaders(headers)),
          ...(position > 0 ? { range: `bytes=${position}-` } : {}),
        },
        tls: source.tls,
        proxy: source.proxy,
        idleMs: options.idleMs ?? 60_000,
        signal: options.signal,
      },
      {
        onHead(head) {
          answer = head;
          if (head.status === 206) checkRange(head, position, url);
          // A server that does not know Range sends everything again.
          if (head.status === 200) skip = position;
          return head.status === 200 || head.status === 206;
        },
        onBody(bytes) {
          const wanted = skip === 0 ? bytes : bytes.subarray(Math.min(skip, bytes.byteLength));
          skip -= bytes.byteLength - wanted.byteLength;
          if (wanted.byteLength > 0) take(wanted);
        },
      },
    );
    if (!answer) throw new OcidError("UNAVAILABLE", `${url.host} gave no answer`);
    if (![301, 302, 303, 307, 308].includes(answer.status)) return answer;
    if (redirects === maxRedirects)
      throw new OcidError("FAILED_PRECONDITION", `${origin.host} redirects more than ${maxRedirects} times`, {
        reason: "RedirectLoop",
      });
    url = redirectTarget(answer, url);
  }
}

/** Where a redirect leads: only to web servers, and never to the machine's own surroundings. */
export function redirectTarget(answer: ResponseHead, from: URL): URL {
  const location = answer.headers["location"];
  if (location === undefined || !URL.canParse(location, from))
    throw new OcidError("FAILED_PRECONDITION", `${from.host} redirects to nowhere`);
  const target = new URL(location, from);
  if (target.protocol !== "https:" && target.protocol !== "http:")
    throw new OcidError(
      "FAILED_PRECONDITION",
      `${from.host} redirects to ${target.protocol}, which is not followed`,
      { reason: "RedirectRefused" },
    );
  if (/^(169\.254\.|\[fe[89ab][0-9a-f]:)/i.test(target.hostname))
    throw new OcidError(
      "FAILED_PRECONDITION",
      `${from.host} redirects to the link-local address ${target.hostname}, which is not followed`,
      { reason: "RedirectRefused" },
    );
  target.username = "";
  target.password = "";
  return target;
}

function publicHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => ["accept", "user-agent"].includes(name.toLowerCase())),
  );
}

function checkRange(head: ResponseHead, position: number, url: URL): void {
  const start = /^bytes (\d+)-/.exec(head.headers["content-range"] ?? "")?.[1];
  if (Number(start) !== position)
    throw new OcidError("DATA_LOSS", `${url.host} sent another part of the blob than was asked for`);
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
  const wait = Number(headers["retry-after"]);
  return new OcidError(code, `GET ${url}: the server answered ${status}`, {
    details: { status, ...(wait > 0 && wait < 600 ? { retryAfterMs: wait * 1000 } : {}) },
  });
}

function retryAfterMs(error: unknown): number | undefined {
  const wait = (error as OcidError).details?.["retryAfterMs"];
  return typeof wait === "number" ? wait : undefined;
}
