import type { Readable } from "node:stream";
import { codeOf, isOcidError, OcidError, readCapped, retry } from "@ocid/base";
import type { TlsOptions } from "@ocid/spec";
import { Agent, type Dispatcher, ProxyAgent, request as undiciRequest } from "undici";
import { type Action, Authorizer } from "./authorizer.ts";
import type { Credential } from "./credentials.ts";
import { proxyFor } from "./proxy.ts";
import { responseError } from "./response-error.ts";

export interface EndpointOptions {
  readonly registry: string;
  /** Plain HTTP and any certificate are accepted. */
  readonly insecure: boolean;
  readonly tls: TlsOptions;
  readonly userAgent: string;
  readonly findCredential: (name: string) => Promise<Credential | undefined>;
}

export interface RegistryRequest {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Below the registry's root, `/v2/…`, or an absolute URL that the registry gave. */
  readonly path: string;
  readonly repository: string;
  readonly actions: readonly Action[];
  readonly headers?: Readonly<Record<string, string>>;
  /** Opened again for each try. */
  readonly body?: () => Uint8Array | Readable;
  /** Statuses that are answers, not errors. */
  readonly expect: readonly number[];
  /** What is being done, for errors: `fetch manifest …`. */
  readonly what: string;
  readonly signal?: AbortSignal | undefined;
}

export interface RegistryResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readable & AsyncIterable<Uint8Array>;
  readonly url: URL;
}

const idleMs = 60_000;
const maxErrorBytes = 64 * 1024;
const maxRedirects = 10;

/** One registry: how to reach it, and how to identify oneself to it. */
export class Endpoint implements AsyncDisposable {
  readonly registry: string;
  readonly #options: EndpointOptions;
  readonly #authorizer: Authorizer;
  readonly #tls: TlsOptions;
  readonly #direct: Agent;
  readonly #proxies = new Map<string, ProxyAgent>();
  #base: Promise<URL> | undefined;

  constructor(options: EndpointOptions) {
    this.registry = options.registry;
    this.#options = options;
    this.#tls = options.insecure ? { ...options.tls, verify: false } : options.tls;
    const connect = this.#connectOptions();
    this.#direct = new Agent({ connect, headersTimeout: idleMs, bodyTimeout: idleMs, connections: 16 });
    this.#authorizer = new Authorizer(
      options.registry,
      async (request, signal) => {
        const answer = await undiciRequest(request.url, {
          method: request.method,
          headers: { "user-agent": options.userAgent, ...request.headers },
          body: request.body ?? null,
          dispatcher: this.#dispatcher(request.url),
          signal: signal ?? null,
        }).catch(error => {
          throw connectionError(request.url, error);
        });
        return {
          status: answer.statusCode,
          body: await readCapped(answer.body, 1024 * 1024, `the token of ${options.registry}`),
        };
      },
      options.findCredential,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#direct, ...this.#proxies.values()].map(agent => agent.destroy()));
  }

  /** Scheme and host: https, or http where the registry is declared insecure and speaks nothing else. */
  base(signal?: AbortSignal): Promise<URL> {
    this.#base ??= this.#findBase(signal).catch(error => {
      this.#base = undefined;
      throw error;
    });
    return this.#base;
  }

  /** Sends a request with what the registry wants to see, follows redirects, and retries what may pass. */
  async send(request: RegistryRequest): Promise<RegistryResponse> {
    return await retry(() => this.#authorized(request), {
      attempts: 4,
      signal: request.signal,
      retryable: error =>
        isOcidError(error) &&
        (error.code === "UNAVAILABLE" ||
          (error.code === "RESOURCE_EXHAUSTED" && error.details?.["status"] === 429)),
      waitMs: error =>
        isOcidError(error) ? (error.details?.["retryAfterMs"] as number | undefined) : undefined,
    });
  }

  /** What a worker thread needs to send a GET by itself. */
  async plainRequest(
    path: string,
    repository: string,
    actions: readonly Action[],
    signal?: AbortSignal,
  ): Promise<{
    readonly url: URL;
    readonly headers: Record<string, string>;
    readonly tls: TlsOptions;
    readonly proxy: string | undefined;
  }> {
    const url = new URL(path, await this.base(signal));
    return {
      url,
      headers: await this.#headers(repository, actions, signal),
      tls: this.#tls,
      proxy: proxyFor(url),
    };
  }

  /** Fresh headers after a refusal; undefined when there is no other way to ask. */
  async renew(
    challenge: string | undefined,
    repository: string,
    actions: readonly Action[],
  ): Promise<Record<string, string> | undefined> {
    return this.#authorizer.learn(challenge, repository, actions)
      ? await this.#headers(repository, actions)
      : undefined;
  }

  async #headers(
    repository: string,
    actions: readonly Action[],
    signal?: AbortSignal,
  ): Promise<Record<string, string>> {
    const authorization = await this.#authorizer.header(repository, actions, signal);
    return {
      "user-agent": this.#options.userAgent,
      ...(authorization === undefined ? {} : { authorization }),
    };
  }

  async #authorized(request: RegistryRequest): Promise<RegistryResponse> {
    const { repository, actions, signal } = request;
    let response = await this.#follow(request, await this.#headers(repository, actions, signal));
    if (
      response.status === 401 &&
      this.#authorizer.learn(response.headers["www-authenticate"], repository, actions)
    ) {
      await drain(response);
      response = await this.#follow(request, await this.#headers(repository, actions, signal));
    }
    if (request.expect.includes(response.status)) return response;
    const body =
      request.method === "HEAD"
        ? ""
        : Buffer.from(
            await readCapped(response.body, maxErrorBytes, "the registry's error").catch(
              () => new Uint8Array(),
            ),
          ).toString();
    throw responseError(request.what, response.status, body, response.headers["retry-after"]);
  }

  async #follow(request: RegistryRequest, authorization: Record<string, string>): Promise<RegistryResponse> {
    const base = await this.base(request.signal);
    let url = new URL(request.path, base);
    for (let redirects = 0; ; redirects++) {
      // Credentials stay with the registry.
      const own = url.origin === base.origin ? authorization : { "user-agent": this.#options.userAgent };
      const response = await this.#once(url, request, { ...request.headers, ...own });
      if (
        ![301, 302, 303, 307, 308].includes(response.status) ||
        (request.method !== "GET" && request.method !== "HEAD")
      )
        return response;
      await drain(response);
      if (redirects === maxRedirects)
        throw new OcidError(
          "FAILED_PRECONDITION",
          `${request.what}: ${this.registry} redirects more than ${maxRedirects} times`,
          { reason: "RedirectLoop" },
        );
      url = redirectTarget(response.headers["location"], url, request.what);
    }
  }

  async #once(
    url: URL,
    request: RegistryRequest,
    headers: Record<string, string>,
  ): Promise<RegistryResponse> {
    const answer = await undiciRequest(url, {
      method: request.method,
      headers,
      body: request.body?.() ?? null,
      dispatcher: this.#dispatcher(url),
      signal: request.signal ?? null,
    }).catch(error => {
      if (request.signal?.aborted) throw request.signal.reason;
      throw connectionError(url, error);
    });
    // A body that nobody wants is destroyed, which is no failure; who reads it gets errors from the iteration.
    answer.body.on("error", () => {});
    return { status: answer.statusCode, headers: flatten(answer.headers), body: answer.body, url };
  }

  #connectOptions(): Record<string, unknown> {
    const { ca, cert, key, verify = true } = this.#tls;
    return {
      rejectUnauthorized: verify,
      timeout: 30_000,
      ...(ca ? { ca: [...ca] } : {}),
      ...(cert ? { cert } : {}),
      ...(key ? { key } : {}),
    };
  }

  #dispatcher(url: URL): Dispatcher {
    const proxy = proxyFor(url);
    if (proxy === undefined) return this.#direct;
    let agent = this.#proxies.get(proxy);
    if (!agent) {
      agent = new ProxyAgent({
        uri: proxy,
        requestTls: this.#connectOptions(),
        headersTimeout: idleMs,
        bodyTimeout: idleMs,
      });
      this.#proxies.set(proxy, agent);
    }
    return agent;
  }

  async #findBase(signal: AbortSignal | undefined): Promise<URL> {
    const host = this.registry === "docker.io" ? "registry-1.docker.io" : this.registry;
    const secure = new URL(`https://${host}`);
    if (!this.#options.insecure) return secure;
    const plain = new URL(`http://${host}`);
    for (const base of [secure, plain]) {
      try {
        const answer = await undiciRequest(new URL("/v2/", base), {
          method: "GET",
          dispatcher: this.#dispatcher(base),
          signal: signal ?? null,
        });
        answer.body.on("error", () => {});
        answer.body.destroy();
        return base;
      } catch (error) {
        signal?.throwIfAborted();
        if (base === plain) throw connectionError(base, error);
      }
    }
    return plain;
  }
}

/** Where a redirect leads: to web servers only, never to the machine's own surroundings. */
export function redirectTarget(location: string | undefined, from: URL, what: string): URL {
  if (location === undefined || !URL.canParse(location, from))
    throw new OcidError("FAILED_PRECONDITION", `${what}: ${from.host} redirects to nowhere`);
  const target = new URL(location, from);
  if (!/^https?:$/.test(target.protocol))
    throw new OcidError(
      "FAILED_PRECONDITION",
      `${what}: ${from.host} redirects to ${target.protocol}, which is not followed`,
      { reason: "RedirectRefused" },
    );
  if (/^(169\.254\.|\[fe[89ab][0-9a-f]:)/i.test(target.hostname))
    throw new OcidError(
      "FAILED_PRECONDITION",
      `${what}: ${from.host} redirects to the link-local address ${target.hostname}, which is not followed`,
      { reason: "RedirectRefused" },
    );
  target.username = "";
  target.password = "";
  return target;
}

function connectionError(url: URL, error: unknown): unknown {
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

async function drain(response: RegistryResponse): Promise<void> {
  response.body.on("error", () => {});
  response.body.destroy();
}

function flatten(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name.toLowerCase(), Array.isArray(value) ? value.join(", ") : value]],
    ),
  );
}
