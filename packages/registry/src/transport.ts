import type { Readable } from "node:stream";
import { codeOf, isOcidError, OcidError, traced } from "@ocid/base";
import { lookupRedirected } from "@ocid/base/redirects";
import type { TlsOptions } from "@ocid/spec";
import { Agent, type Dispatcher, ProxyAgent, request as undiciRequest } from "undici";
import { proxyFor } from "./proxy.ts";

export type Method = "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";

export interface HttpRequest {
  readonly method: Method;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | Readable | string | undefined;
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
  readonly #agents = new Map<string, Dispatcher>();

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#agents.values()].map(agent => agent.destroy()));
    this.#agents.clear();
  }

  async send(url: URL, request: HttpRequest): Promise<HttpResponse> {
    // Without the query, which may carry a signature.
    const attributes = { host: url.host, path: url.pathname };
    return await traced({ name: `registry.${request.method}`, attributes }, () => this.#send(url, request));
  }

  async #send(url: URL, request: HttpRequest): Promise<HttpResponse> {
    const { method, headers, body = null, signal = null, redirected = false } = request;
    const answer = await undiciRequest(url, {
      method,
      headers,
      body,
      dispatcher: this.#agent(url, redirected),
      signal,
    }).catch(error => {
      if (signal?.aborted) throw signal.reason;
      throw connectionError(url, error);
    });
    // A body that nobody wants is destroyed, which is no failure; who reads it gets errors from the iteration.
    answer.body.on("error", () => {});
    return { status: answer.statusCode, headers: flatten(answer.headers), body: answer.body, url };
  }

  #agent(url: URL, redirected: boolean): Dispatcher {
    const proxy = proxyFor(url);
    const key = proxy ?? (redirected ? "redirected" : "direct");
    let agent = this.#agents.get(key);
    if (!agent) {
      agent = this.#createAgent(proxy, redirected);
      this.#agents.set(key, agent);
    }
    return agent;
  }

  #createAgent(proxy: string | undefined, redirected: boolean): Dispatcher {
    const { tls, idleMs } = this.#options;
    const { ca, cert, key, verify = true } = tls;
    const connect = {
      rejectUnauthorized: verify,
      timeout: Math.min(idleMs, 30_000),
      ...(ca ? { ca: [...ca] } : {}),
      ...(cert ? { cert } : {}),
      ...(key ? { key } : {}),
    };
    const timeouts = { headersTimeout: idleMs, bodyTimeout: idleMs };
    if (proxy !== undefined) return new ProxyAgent({ uri: proxy, requestTls: connect, ...timeouts });
    return new Agent({
      connect: redirected ? { ...connect, lookup: lookupRedirected as never } : connect,
      connections: 16,
      ...timeouts,
    });
  }
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

/** Lets go of a response whose body is not wanted. */
export function discard(response: HttpResponse): void {
  response.body.destroy();
}

function flatten(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name.toLowerCase(), Array.isArray(value) ? value.join(", ") : value]],
    ),
  );
}
