import { isOcidError, OcidError, parseRetryAfter, retry } from "@ocid/base";
import { redirectTarget } from "@ocid/base/redirects";
import type { TlsOptions } from "@ocid/spec";
import { type Access, Authorizer } from "./authorizer.ts";
import type { Credential } from "./credentials.ts";
import { proxyFor } from "./proxy.ts";
import { readAnswer } from "./read-body.ts";
import { responseError } from "./response-error.ts";
import { connectionError, discard, type HttpResponse, type Method, Transport } from "./transport.ts";

export interface EndpointOptions {
  readonly registry: string;
  /** Plain HTTP and any certificate are accepted. */
  readonly insecure: boolean;
  readonly tls: TlsOptions;
  readonly userAgent: string;
  readonly findCredential: (name: string) => Promise<Credential | undefined>;
  readonly timeouts: Timeouts;
}

export interface Timeouts {
  /** A connection on which nothing arrives for so long is given up. Default 60,000 ms. */
  readonly idleMs: number;
  /** A body that drips (less than 1 KiB a second; 16 KiB for all but blobs) for so long is given up. Default 30,000 ms. */
  readonly slowMs: number;
}

export interface RegistryRequest {
  readonly method: Method;
  /** Below the registry's root, `/v2/…`, or an absolute URL that the registry gave. */
  readonly path: string;
  readonly access: Access;
  readonly headers?: Readonly<Record<string, string>>;
  /** Opened again for each try. */
  readonly body?: () => Uint8Array | AsyncIterable<Uint8Array>;
  /** Statuses that are answers, not errors. */
  readonly expect: readonly number[];
  /** What is being done, for errors: `fetch manifest …`. */
  readonly what: string;
  /** Tries in all. Default 4. */
  readonly attempts?: number;
  /** What is fetched is known by its digest: it may come over plain HTTP, as some registries' blob stores are reached. */
  readonly byDigest?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export type RegistryResponse = HttpResponse;

const maxErrorBytes = 64 * 1024;
const maxRedirects = 10;
/** Who asks to be left alone for longer is not waited for. */
const maxWaitMs = 5 * 60_000;

/** One registry: how to reach it, and how to identify oneself to it. */
export class Endpoint implements AsyncDisposable {
  readonly registry: string;
  readonly #options: EndpointOptions;
  readonly #authorizer: Authorizer;
  readonly #tls: TlsOptions;
  readonly #transport: Transport;
  #base: Promise<URL> | undefined;

  constructor(options: EndpointOptions) {
    this.registry = options.registry;
    this.#options = options;
    this.#tls = options.insecure ? { ...options.tls, verify: false } : options.tls;
    this.#transport = new Transport({ tls: this.#tls, idleMs: options.timeouts.idleMs });
    this.#authorizer = new Authorizer({
      registry: options.registry,
      insecure: options.insecure,
      findCredential: options.findCredential,
      fetch: async ({ url, ...request }, signal) => {
        const headers = { "user-agent": options.userAgent, ...request.headers };
        const answer = await this.#transport.send(url, { ...request, headers, signal, redirected: true });
        const body = await this.readAnswer(answer, 1024 * 1024, `the token of ${options.registry}`);
        return { status: answer.status, headers: answer.headers, body };
      },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport[Symbol.asyncDispose]();
  }

  get timeouts(): Timeouts {
    return this.#options.timeouts;
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
      attempts: request.attempts ?? 4,
      signal: request.signal,
      retryable: isPassing,
      waitMs: retryAfterOf,
    });
  }

  /** Reads a small answer whole, and not for ever. */
  async readAnswer(response: RegistryResponse, cap: number, what: string): Promise<Uint8Array> {
    return await readAnswer(response, cap, what, this.#options.timeouts.slowMs);
  }

  /** What a worker thread needs to send a GET by itself. */
  async plainRequest(
    path: string,
    access: Access,
    signal?: AbortSignal,
  ): Promise<{
    readonly url: URL;
    readonly headers: Record<string, string>;
    readonly tls: TlsOptions;
    readonly proxy: string | undefined;
  }> {
    const url = new URL(path, await this.base(signal));
    return { url, headers: await this.#headers(access, signal), tls: this.#tls, proxy: proxyFor(url) };
  }

  /** Fresh headers after a refusal; undefined when there is no other way to ask. */
  async renew(challenge: string | undefined, access: Access): Promise<Record<string, string> | undefined> {
    return this.#authorizer.learn(challenge, access) ? await this.#headers(access) : undefined;
  }

  async #headers(access: Access, signal?: AbortSignal): Promise<Record<string, string>> {
    const authorization = await this.#authorizer.header(access, signal);
    return {
      "user-agent": this.#options.userAgent,
      ...(authorization === undefined ? {} : { authorization }),
    };
  }

  async #authorized(request: RegistryRequest): Promise<RegistryResponse> {
    const { access, signal } = request;
    let response = await this.#follow(request, await this.#headers(access, signal));
    if (
      response.status === 401 &&
      response.url.origin === (await this.base(signal)).origin &&
      this.#authorizer.learn(response.headers["www-authenticate"], access)
    ) {
      discard(response);
      response = await this.#follow(request, await this.#headers(access, signal));
    }
    if (request.expect.includes(response.status)) return response;
    const body =
      request.method === "HEAD"
        ? ""
        : Buffer.from(
            await this.readAnswer(response, maxErrorBytes, "the registry's error").catch(
              () => new Uint8Array(),
            ),
          ).toString();
    throw responseError(
      request.what,
      response.status,
      body,
      parseRetryAfter(response.headers["retry-after"]),
    );
  }

  async #follow(request: RegistryRequest, authorization: Record<string, string>): Promise<RegistryResponse> {
    const { method, what, signal } = request;
    const base = await this.base(signal);
    let url = new URL(request.path, base);
    for (let redirects = 0; ; redirects++) {
      // Credentials stay with the registry.
      const own = url.origin === base.origin ? authorization : { "user-agent": this.#options.userAgent };
      const response = await this.#transport.send(url, {
        method,
        headers: { ...request.headers, ...own },
        body: request.body?.(),
        signal,
        redirected: url.origin !== base.origin,
      });
      const mayFollow = method === "GET" || method === "HEAD";
      if (![301, 302, 303, 307, 308].includes(response.status) || !mayFollow) return response;
      discard(response);
      if (redirects === maxRedirects)
        throw new OcidError(
          "FAILED_PRECONDITION",
          `${what}: ${this.registry} redirects more than ${maxRedirects} times`,
          { reason: "RedirectLoop" },
        );
      url = this.#redirected(response, request);
    }
  }

  #redirected({ headers, url }: RegistryResponse, { what, byDigest = false }: RegistryRequest): URL {
    const target = redirectTarget(headers["location"], url, what);
    const leavesTls = url.protocol === "https:" && target.protocol === "http:";
    if (leavesTls && !byDigest && !this.#options.insecure)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `${what}: ${url.host} redirects from HTTPS to plain HTTP at ${target.host}, which is not followed`,
        { reason: "RedirectRefused" },
      );
    return target;
  }

  async #findBase(signal: AbortSignal | undefined): Promise<URL> {
    const host = this.registry === "docker.io" ? "registry-1.docker.io" : this.registry;
    const secure = new URL(`https://${host}`);
    if (!this.#options.insecure) return secure;
    const plain = new URL(`http://${host}`);
    for (const base of [secure, plain]) {
      try {
        discard(await this.#transport.send(new URL("/v2/", base), { method: "GET", headers: {}, signal }));
        return base;
      } catch (error) {
        signal?.throwIfAborted();
        if (base === plain) throw connectionError(base, error);
      }
    }
    return plain;
  }
}

/** Whether the same request may succeed a little later, and not only after a long time that the registry asks for. */
export function isPassing(error: unknown): boolean {
  return (
    isOcidError(error) &&
    (retryAfterOf(error) ?? 0) <= maxWaitMs &&
    (error.code === "UNAVAILABLE" ||
      (error.code === "RESOURCE_EXHAUSTED" && error.details?.["status"] === 429))
  );
}

export function retryAfterOf(error: unknown): number | undefined {
  return isOcidError(error) ? (error.details?.["retryAfterMs"] as number | undefined) : undefined;
}
