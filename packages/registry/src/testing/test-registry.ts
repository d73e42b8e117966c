import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type Descriptor, type Digest, mediaTypes } from "@ocid/spec";
import { type Fault, type FaultRule, FaultRules, sendBody } from "./faults.ts";
import { MemoryRepository, type TestBlob } from "./memory-repository.ts";

export interface TestRegistryOptions {
  /** What clients must show. Default: nothing. With `token`, a bearer token that this user gets at `/token`. */
  readonly auth?:
    | { readonly scheme: "basic" | "token"; readonly username: string; readonly password: string }
    | undefined;
  /** An OAuth2 refresh token that `/token` takes too. */
  readonly identityToken?: string | undefined;
  /** Whether it lists referrers by itself. Default true. */
  readonly referrers?: boolean | undefined;
  /** Whether a tag can be deleted without its manifest. Default true. */
  readonly deletesTags?: boolean | undefined;
  /** Most items of a page. Default 1000. */
  readonly pageSize?: number | undefined;
}

export interface SeenRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: Readonly<IncomingMessage["headers"]>;
  /** Bytes of the answer's body that were sent. */
  sent: number;
}

/** A registry in memory, on a port of loopback over plain HTTP, which does wrong what it is told to. */
export interface TestRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  readonly requests: SeenRequest[];
  addBlob(repository: string, blob: Uint8Array | TestBlob): Descriptor;
  addManifest(repository: string, bytes: Uint8Array, mediaType: string, tag?: string): Descriptor;
  /** What there is, or was pushed. */
  readBlob(repository: string, digest: Digest): Uint8Array | undefined;
  tags(repository: string): readonly string[];
  /** From now on, requests that fit go wrong; of several rules the first that fits counts. */
  fail(rule: FaultRule): void;
  /** All goes right again. */
  heal(): void;
}

/** Starts a registry for tests: pull, push in one piece and in chunks, tags, referrers, deletion, tokens, and faults. */
export async function startTestRegistry(options: TestRegistryOptions = {}): Promise<TestRegistry> {
  const state = new State(options);
  const server = createServer((request, response) => {
    response.on("error", () => {});
    void state.answer(request, response).catch(() => response.destroy());
  }).listen(0, "127.0.0.1");
  await new Promise(resolve => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  state.host = `127.0.0.1:${port}`;
  const { requests, rules } = state;
  return {
    host: state.host,
    requests,
    addBlob: (repository, blob) => state.repository(repository).addBlob(blob),
    addManifest: (repository, bytes, mediaType, tag) =>
      state.repository(repository).addManifest(bytes, mediaType, tag),
    readBlob: (repository, digest) => {
      const blob = state.repository(repository).blobs.get(digest);
      return blob?.read(0, blob.size);
    },
    tags: repository => [...state.repository(repository).tags.keys()].sort(),
    fail: rule => rules.add(rule),
    heal: () => rules.clear(),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly repository: MemoryRepository;
  readonly repositoryName: string;
  /** What follows the kind of thing in the path: a digest, a tag, an upload. */
  readonly name: string;
  readonly fault: Fault | undefined;
  readonly seen: SeenRequest;
}

class State {
  host = "";
  readonly requests: SeenRequest[] = [];
  readonly rules = new FaultRules();
  readonly #options: TestRegistryOptions;
  readonly #repositories = new Map<string, MemoryRepository>();
  #token = randomBytes(16).toString("hex");

  constructor(options: TestRegistryOptions) {
    this.#options = options;
  }

  repository(name: string): MemoryRepository {
    let found = this.#repositories.get(name);
    if (!found) {
      found = new MemoryRepository();
      this.#repositories.set(name, found);
    }
    return found;
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "GET", url = "/", headers } = request;
    const seen: SeenRequest = { method, url, headers, sent: 0 };
    this.requests.push(seen);
    const fault = this.rules.take(method, url);
    if (fault && this.#answerWrong(fault, response)) return;
    const parsed = new URL(url, `http://${this.host}`);
    if (parsed.pathname === "/token") return await this.#giveToken(request, response, parsed);
    if (!this.#isLetIn(headers.authorization)) return this.#challenge(response);
    if (parsed.pathname === "/v2/") return void response.end("{}");
    const [, repositoryName, kind, name = ""] =
      /^\/v2\/(.+?)\/(blobs\/uploads|blobs|manifests|tags|referrers)\/(.*)$/.exec(parsed.pathname) ?? [];
    if (repositoryName === undefined) return refuse(response, 404, "NAME_UNKNOWN");
    const repository = this.repository(repositoryName);
    const call: Call = { request, response, url: parsed, repository, repositoryName, name, fault, seen };
    switch (kind) {
      case "blobs":
        return await this.#blob(call);
      case "blobs/uploads":
        return await this.#upload(call);
      case "manifests":
        return await this.#manifest(call);
      case "tags":
        return this.#page(call, "tags", [...repository.tags.keys()].sort());
      default:
        if (this.#options.referrers === false) return refuse(response, 404, "NOT_FOUND");
        return this.#page(call, "manifests", repository.referrers(name as Digest));
    }
  }

  /** Faults that need no answer to be wrong about. */
  #answerWrong(fault: Fault, response: ServerResponse): boolean {
    if (fault.kind === "status")
      response
        .writeHead(fault.status, fault.retryAfter === undefined ? {} : { "retry-after": fault.retryAfter })
        .end();
    else if (fault.kind === "redirect") response.writeHead(307, { location: fault.location }).end();
    else if (fault.kind === "respond") response.writeHead(fault.status, fault.headers).end(fault.body ?? "");
    else {
      if (fault.kind === "expireTokens") this.#token = randomBytes(16).toString("hex");
      return false;
    }
    return true;
  }

  #isLetIn(authorization: string | undefined): boolean {
    const { auth } = this.#options;
    if (!auth) return true;
    return authorization === (auth.scheme === "basic" ? basic(auth) : `Bearer ${this.#token}`);
  }

  #challenge(response: ServerResponse): void {
    const bearer = `Bearer realm="http://${this.host}/token",service="test"`;
    const challenge = this.#options.auth?.scheme === "token" ? bearer : 'Basic realm="test"';
    refuse(response, 401, "UNAUTHORIZED", { "www-authenticate": challenge });
  }

  async #giveToken(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    const { auth, identityToken } = this.#options;
    const form = new URLSearchParams((await readAll(request)).toString());
    const isKnown =
      request.method === "POST"
        ? identityToken !== undefined && form.get("refresh_token") === identityToken
        : auth !== undefined && request.headers.authorization === basic(auth);
    if (!isKnown) return refuse(response, 401, "UNAUTHORIZED");
    response.end(
      JSON.stringify({ token: this.#token, expires_in: 300, scope: url.searchParams.get("scope") }),
    );
  }

  async #blob({ request, response, repository, name, fault, seen }: Call): Promise<void> {
    const blob = repository.blobs.get(name as Digest);
    if (!blob) return refuse(response, 404, "BLOB_UNKNOWN");
    const [, first, last = ""] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    if (fault?.kind === "refuseRange" && first !== undefined) return refuse(response, 416, "RANGE_INVALID");
    const isRanged = first !== undefined && fault?.kind !== "ignoreRange";
    const from = isRanged ? Number(first) : 0;
    const to = isRanged && last !== "" ? Math.min(Number(last) + 1, blob.size) : blob.size;
    if (from >= to && blob.size > 0) return refuse(response, 416, "RANGE_INVALID");
    const length = fault?.kind === "wrongLength" ? fault.length : to - from;
    response.writeHead(isRanged ? 206 : 200, {
      "docker-content-digest": blob.digest,
      ...(fault?.kind === "endless" ? {} : { "content-length": length }),
      ...(isRanged ? { "content-range": `bytes ${from}-${to - 1}/${blob.size}` } : {}),
    });
    if (request.method === "HEAD") return void response.end();
    const shift = fault?.kind === "lieAboutRange" && from > 0 ? -from : 0;
    const read = (a: number, b: number) => blob.read(from + shift + a, from + shift + b);
    seen.sent = await sendBody(response, to - from, read, fault);
  }

  async #manifest({ request, response, repository, name, fault, seen }: Call): Promise<void> {
    if (request.method === "PUT") {
      const bytes = await readAll(request);
      const mediaType = request.headers["content-type"] ?? mediaTypes.ociManifest;
      const { digest } = repository.addManifest(bytes, mediaType, name.includes(":") ? undefined : name);
      const subject = this.#options.referrers === false ? undefined : repository.subjectOf(bytes);
      const headers = { "docker-content-digest": digest, ...(subject ? { "oci-subject": subject } : {}) };
      return void response.writeHead(201, headers).end();
    }
    if (request.method === "DELETE") return this.#delete(response, repository, name);
    const found = repository.findManifest(name);
    if (!found) return refuse(response, 404, "MANIFEST_UNKNOWN");
    const { bytes, digest, mediaType } = found;
    const length = fault?.kind === "wrongLength" ? fault.length : bytes.byteLength;
    response.writeHead(200, {
      "content-type": mediaType,
      "docker-content-digest": digest,
      ...(fault?.kind === "endless" ? {} : { "content-length": length }),
    });
    if (request.method === "HEAD") return void response.end();
    seen.sent = await sendBody(response, bytes.byteLength, (a, b) => bytes.subarray(a, b), fault);
  }

  #delete(response: ServerResponse, repository: MemoryRepository, name: string): void {
    if (!name.includes(":")) {
      if (this.#options.deletesTags === false) return refuse(response, 405, "UNSUPPORTED");
      return repository.tags.delete(name)
        ? void response.writeHead(202).end()
        : refuse(response, 404, "MANIFEST_UNKNOWN");
    }
    if (!repository.deleteManifest(name as Digest)) return refuse(response, 404, "MANIFEST_UNKNOWN");
    response.writeHead(202).end();
  }

  #page({ response, url, repositoryName }: Call, key: "tags" | "manifests", all: readonly unknown[]): void {
    const size = Math.min(Number(url.searchParams.get("n") ?? 1000), this.#options.pageSize ?? 1000);
    const last = url.searchParams.get("last");
    const names = all.map(item => (typeof item === "string" ? item : (item as Descriptor).digest));
    const from = last === null ? 0 : names.indexOf(last) + 1;
    if (from + size < all.length) {
      url.searchParams.set("last", names[from + size - 1]!);
      response.setHeader("link", `<${url.pathname}${url.search}>; rel="next"`);
    }
    response.setHeader("content-type", key === "tags" ? "application/json" : mediaTypes.ociIndex);
    const page = { [key]: all.slice(from, from + size) };
    response.end(
      JSON.stringify(key === "tags" ? { name: repositoryName, ...page } : { schemaVersion: 2, ...page }),
    );
  }

  async #upload({ request, response, url, repository, repositoryName, name, fault }: Call): Promise<void> {
    const place = (id: string) => `/v2/${repositoryName}/blobs/uploads/${id}`;
    if (request.method === "POST") {
      const { searchParams } = url;
      const mounted = this.#repositories
        .get(searchParams.get("from") ?? "")
        ?.blobs.get(searchParams.get("mount") as Digest);
      if (mounted) {
        repository.addBlob(mounted);
        return void response.writeHead(201).end();
      }
      return void response.writeHead(202, { location: place(repository.startUpload()) }).end();
    }
    const pieces = repository.uploads.get(name);
    if (!pieces) return refuse(response, 404, "BLOB_UPLOAD_UNKNOWN");
    const size = () => pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
    const head = () => ({ location: place(name), range: `0-${Math.max(0, size() - 1)}` });
    if (request.method === "GET") return void response.writeHead(204, head()).end();
    const start = /^(\d+)-/.exec(request.headers["content-range"] ?? "")?.[1];
    if (start !== undefined && Number(start) !== size()) {
      request.resume();
      return void response.writeHead(416, head()).end();
    }
    const limit = fault?.kind === "cut" ? fault.afterBytes : Number.POSITIVE_INFINITY;
    for await (const piece of request) {
      pieces.push((piece as Buffer).subarray(0, Math.max(0, limit - size())));
      if (size() >= limit) return void request.socket.destroy();
    }
    if (request.method === "PATCH") return void response.writeHead(202, head()).end();
    const blob = Buffer.concat(pieces);
    const { digest } = repository.addBlob(blob);
    repository.uploads.delete(name);
    if (digest !== url.searchParams.get("digest")) {
      repository.blobs.delete(digest);
      return refuse(response, 400, "DIGEST_INVALID");
    }
    response.writeHead(201).end();
  }
}

function refuse(
  response: ServerResponse,
  status: number,
  code: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify({ errors: [{ code, message: "" }] }));
}

function basic({ username, password }: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

async function readAll(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
