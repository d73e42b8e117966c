import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from "node:http";
import type { Readable } from "node:stream";
import { codeOf, isOcidError, OcidError, traced } from "@ocid/base";
import { lookupRedirected } from "@ocid/base/redirects";
import type { TlsOptions } from "@ocid/spec";
import { proxyFor } from "./proxy.ts";

export type Method = "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";

export interface HttpRequest {
  readonly method: Method;
  readonly headers: Readonly<Record<string, string>>;
  /** Of one that is iterated over, memory may be used again when the next piece is asked for. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array> | string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The URL is one that a server redirected to: names that stand for link-local addresses are refused. */
  readonly redirected?: boolean;
}

export interface HttpResponse {
  readonly status: number;
  /** Names in lower case; repeated ones joined with a comma. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readable & AsyncIterable<Uint8Array>;
  readonly url: URL;
}

export interface TransportOptions {
  readonly tls: TlsOptions;
  /** A connection that is silent for so long is given up. */
  readonly idleMs: number;
}

/** Connections to one registry and to where it redirects: pooled, through proxies where the environment says so. */
export class Transport implements AsyncDisposable {
  readonly #options: TransportOptions;
  readonly #agents = new Map<string, HttpAgent>();

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  async send(url: URL, request: HttpRequest): Promise<HttpResponse> {
    // Without the query, which may carry a signature.
    const attributes = { host: url.host, path: url.pathname };
    return await traced({ name: `registry.${request.method}`, attributes }, () => this.#send(url, request));
  }

  async #send(url: URL, request: HttpRequest): Promise<HttpResponse> {
    const { signal, redirected = false } = request;
    signal?.throwIfAborted();
    const proxy = proxyFor(url);
    const connection = {
      agent: this.#agent(url, proxy),
      ...(redirected && proxy === undefined ? { lookup: lookupRedirected as never } : {}),
    };
    const answer = await sendOnce(url, request, this.#options.idleMs, connection).catch(error => {
      if (signal?.aborted) throw signal.reason;
      throw connectionError(url, error);
    });
    return { status: answer.statusCode ?? 0, headers: flatten(answer.headers), body: answer, url };
  }

  /** Connections by name and by address are kept apart: what a redirect may not reach is decided when one is made. */
  #agent(url: URL, proxy: string | undefined): HttpAgent {
    const key = `${url.protocol} ${proxy ?? ""}`;
    let agent = this.#agents.get(key);
    if (!agent) {
      agent = this.#createAgent(url.protocol === "https:", proxy);
      this.#agents.set(key, agent);
    }
    return agent;
  }

  #createAgent(secure: boolean, proxy: string | undefined): HttpAgent {
    const { ca, cert, key, verify = true } = this.#options.tls;
    const common = {
      keepAlive: true,
      maxSockets: 16,
      // Which proxy, if any, has been decided; Node makes the tunnel.
      ...(proxy === undefined ? {} : { proxyEnv: { HTTP_PROXY: proxy, HTTPS_PROXY: proxy } }),
    };
    if (!secure) return new HttpAgent(common);
    return new (loadHttps().Agent)({
      ...common,
      rejectUnauthorized: verify,
      // Without a list Node reads all authorities that it knows.
      ...(verify ? (ca ? { ca: [...ca] } : {}) : { ca: [] }),
      ...(cert ? { cert } : {}),
      ...(key ? { key } : {}),
    });
  }
}

/** Loaded when it is used: TLS is the largest of Node's own modules. */
const loadHttps = () => process.getBuiltinModule("node:https");

const connectMs = 30_000;

/** Sends a request; resolves with the head of the answer. Errors of its body are for who reads it. */
function sendOnce(
  url: URL,
  { method, headers, body, signal }: HttpRequest,
  idleMs: number,
  connection: { readonly agent: HttpAgent },
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let response: IncomingMessage | undefined;
    const outgoing = (url.protocol === "https:" ? loadHttps().request : httpRequest)(url, {
      ...connection,
      method,
      headers: { ...headers },
    });
    const giveUp = (error: unknown) => {
      reject(error);
      if (response) response.destroy(error as Error);
      else outgoing.destroy();
    };
    const abort = () => giveUp(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    const idle = (ms: number) =>
      giveUp(Object.assign(new Error(`no answer for ${ms} ms`), { code: "ETIMEDOUT" }));
    const connecting = setTimeout(idle, Math.min(connectMs, idleMs), Math.min(connectMs, idleMs));
    outgoing.once("socket", socket => {
      if (!socket.connecting) return clearTimeout(connecting);
      socket.once(url.protocol === "https:" ? "secureConnect" : "connect", () => clearTimeout(connecting));
    });
    outgoing.setTimeout(idleMs, () => {
      // A reader that takes its time is not the server's fault.
      if ((response?.readableLength ?? 0) > 0) outgoing.setTimeout(idleMs);
      else idle(idleMs);
    });
    outgoing.on("error", giveUp);
    outgoing.once("close", () => {
      clearTimeout(connecting);
      signal?.removeEventListener("abort", abort);
      reject(Object.assign(new Error("the connection was closed without an answer"), { code: "ECONNRESET" }));
    });
    outgoing.once("response", answer => {
      response = answer;
      // A body that nobody wants is destroyed, which is no failure; who reads it gets errors from the iteration.
      answer.on("error", () => {});
      // What is refused before all of it is sent is not sent to its end.
      if (!outgoing.writableEnded) answer.once("close", () => outgoing.destroy());
      resolve(answer);
    });
    if (body === undefined || typeof body === "string" || body instanceof Uint8Array) outgoing.end(body);
    else sendPieces(outgoing, body).catch(giveUp);
  });
}

/** Sends a body piece by piece, the next one once the socket needs the last one no more. An error is told as the request's own. */
async function sendPieces(outgoing: ClientRequest, body: AsyncIterable<Uint8Array>): Promise<void> {
  let goOn = () => {};
  outgoing.once("close", () => goOn());
  for await (const piece of body) {
    if (outgoing.destroyed) return;
    await new Promise<void>(resolve => {
      goOn = resolve;
      outgoing.write(piece, () => resolve());
    });
  }
  if (!outgoing.destroyed) outgoing.end();
}

/** What went wrong between two machines, in words that say what to do. */
export function connectionError(url: URL, error: unknown): unknown {
  if (isOcidError(error) || codeOf(error) === "CANCELLED") return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const untrusted =
    /SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|ALTNAME|CERT_HAS_EXPIRED|DEPTH_ZERO/.test(code ?? "");
  if (untrusted)
    return new OcidError(
      "FAILED_PRECONDITION",
      `the certificate of ${url.host} is not trusted (${message}); put its authority into certs.d, or declare the registry insecure`,
      { cause: error },
    );
  const plain = /EPROTO|ERR_SSL_WRONG_VERSION_NUMBER|ERR_SSL_PACKET_LENGTH_TOO_LONG/.test(
    `${code} ${message}`,
  );
  if (plain)
    return new OcidError(
      "FAILED_PRECONDITION",
      `${url.host} does not speak HTTPS; if that is meant to be, declare the registry insecure (--tls-verify=false, or insecure = true in registries.conf)`,
      { cause: error },
    );
  return new OcidError("UNAVAILABLE", `${url.host} cannot be reached: ${message || code}`, { cause: error });
}

/** Lets go of a response whose body is not wanted; a small one is read to its end, so that the connection can be used again. */
export function discard({ status, headers, body }: HttpResponse): void {
  const length = status === 204 ? "0" : headers["content-length"];
  if (length !== undefined && Number(length) <= worthReading) body.resume();
  else body.destroy();
}

const worthReading = 16 * 1024;

function flatten(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name.toLowerCase(), Array.isArray(value) ? value.join(", ") : value]],
    ),
  );
}
