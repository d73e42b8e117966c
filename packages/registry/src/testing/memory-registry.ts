import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Digest } from "@ocid/spec";
import { answerBlob, answerManifest } from "./answer-content.ts";
import { answerPage } from "./answer-page.ts";
import { answerUpload } from "./answer-upload.ts";
import { type Call, readAll, refuse } from "./call.ts";
import { type Fault, FaultRules } from "./faults.ts";
import { MemoryRepository } from "./memory-repository.ts";
import type { SeenRequest, TestRegistryOptions } from "./test-registry.ts";

/** The state of a test registry: its repositories, who is let in, and what goes wrong. */
export class MemoryRegistry {
  host = "";
  readonly requests: SeenRequest[] = [];
  readonly rules: FaultRules = new FaultRules();
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
        return await answerBlob(call);
      case "blobs/uploads":
        return await answerUpload(call, other => this.#repositories.get(other));
      case "manifests":
        return await answerManifest(call, this.#options);
      case "tags":
        return answerPage(call, this.#options, "tags", [...repository.tags.keys()].sort());
      default:
        if (this.#options.referrers === false) return refuse(response, 404, "NOT_FOUND");
        return answerPage(call, this.#options, "manifests", repository.referrers(name as Digest));
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
}

function basic({ username, password }: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}
