import { isOcidError, OcidError, Pace, readCapped } from "@ocid/base";
import type { HttpResponse } from "./transport.ts";

/** A registry that answers in drops is given up: an answer is small, and should not take minutes. */
const answerBytesPerSecond = 16 * 1024;

/** Reads a small answer whole. RESOURCE_EXHAUSTED when it is larger than `cap`; `what` names it. */
export async function readAnswer(
  response: HttpResponse,
  cap: number,
  what: string,
  windowMs: number,
): Promise<Uint8Array> {
  const pace = new Pace({ bytesPerSecond: answerBytesPerSecond, windowMs });
  try {
    return await readCapped(steadily(response, pace), cap, what);
  } finally {
    response.body.destroy();
  }
}

/** A body's bytes as they come. UNAVAILABLE when the connection breaks, or drips. */
export async function* steadily(
  response: HttpResponse,
  pace: Pace,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { host } = response.url;
  const chunks = response.body[Symbol.asyncIterator]();
  try {
    for (;;) {
      const since = performance.now();
      const next = await chunks.next();
      if (next.done) return;
      pace.note(next.value.byteLength, performance.now() - since, host);
      yield next.value;
    }
  } catch (error) {
    throw brokenBody(host, error);
  } finally {
    response.body.destroy();
  }
}

function brokenBody(host: string, error: unknown): unknown {
  const { code, name, message } = error as NodeJS.ErrnoException;
  if (isOcidError(error) || name === "AbortError") return error;
  const isTransport = typeof code === "string" && /^(ECONN|EPIPE|ETIMEDOUT|HPE_|ERR_SSL)/.test(code);
  return isTransport
    ? new OcidError("UNAVAILABLE", `the connection to ${host} broke: ${message}`, { cause: error })
    : error;
}
