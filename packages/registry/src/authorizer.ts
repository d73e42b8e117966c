import { OcidError, SharedFlight } from "@ocid/base";
import { isObject, parseJsonObject } from "@ocid/spec";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Credential } from "./credentials.ts";
import { responseError } from "./response-error.ts";

/** What may be done in a repository; `pull` and `push` as in distribution's token scopes. */
export type Action = "pull" | "push" | "delete";

export interface TokenRequest {
  readonly url: URL;
  readonly method: "GET" | "POST";
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Sends a request to a token server and collects the answer, capped. */
export type TokenFetch = (
  request: TokenRequest,
  signal?: AbortSignal,
) => Promise<{ readonly status: number; readonly body: Uint8Array }>;

interface Token {
  readonly value: string;
  readonly expires: number;
}

const maxAnswerBytes = 1024 * 1024;

/** Finds the Authorization header that a registry wants for a repository, and remembers it until it expires. */
export class Authorizer {
  readonly #registry: string;
  readonly #fetch: TokenFetch;
  readonly #findCredential: (name: string) => Promise<Credential | undefined>;
  readonly #tokens = new Map<string, Token>();
  readonly #flights = new SharedFlight<Token>();
  #challenge: Challenge | undefined;

  constructor(
    registry: string,
    fetch: TokenFetch,
    findCredential: (name: string) => Promise<Credential | undefined>,
  ) {
    this.#registry = registry;
    this.#fetch = fetch;
    this.#findCredential = findCredential;
  }

  /** The header to send, as far as is known without asking. */
  async header(
    repository: string,
    actions: readonly Action[],
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (!challenge) return undefined;
    const credential = await this.#findCredential(
      repository === "" ? this.#registry : `${this.#registry}/${repository}`,
    );
    if (credential?.kind === "registryToken") return `Bearer ${credential.token}`;
    if (challenge.scheme === "basic") return credential?.kind === "basic" ? basic(credential) : undefined;
    const scope = repository === "" ? "" : `repository:${repository}:${actions.join(",")}`;
    const known = this.#tokens.get(scope);
    if (known && known.expires > Date.now()) return `Bearer ${known.value}`;
    const token = await this.#flights.join(
      scope,
      flightSignal => this.#requestToken(challenge, scope, credential, flightSignal),
      signal,
    );
    this.#tokens.set(scope, token);
    return `Bearer ${token.value}`;
  }

  /** Takes in what a 401 said; false when there is no way that we know. */
  learn(header: string | undefined, repository: string, actions: readonly Action[]): boolean {
    const challenges = parseChallenges(header ?? "");
    const found =
      challenges.find(
        challenge => challenge.scheme === "bearer" && challenge.parameters["realm"] !== undefined,
      ) ?? challenges.find(challenge => challenge.scheme === "basic");
    if (!found) return false;
    this.#challenge = found;
    this.#tokens.delete(repository === "" ? "" : `repository:${repository}:${actions.join(",")}`);
    return true;
  }

  async #requestToken(
    challenge: Challenge,
    scope: string,
    credential: Credential | undefined,
    signal: AbortSignal,
  ): Promise<Token> {
    const { realm = "", service } = challenge.parameters;
    if (!URL.canParse(realm) || !/^https?:$/.test(new URL(realm).protocol))
      throw new OcidError(
        "UNAVAILABLE",
        `${this.#registry} names a token server that is no URL: ${JSON.stringify(realm.slice(0, 100))}`,
      );
    const url = new URL(realm);
    const parameters = new URLSearchParams();
    if (service !== undefined) parameters.set("service", service);
    if (scope !== "") parameters.set("scope", scope);
    let request: TokenRequest;
    if (credential?.kind === "identityToken") {
      parameters.set("grant_type", "refresh_token");
      parameters.set("client_id", "ocid");
      parameters.set("refresh_token", credential.token);
      request = {
        url,
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: parameters.toString(),
      };
    } else {
      for (const [key, value] of parameters) url.searchParams.set(key, value);
      request = {
        url,
        method: "GET",
        headers: credential?.kind === "basic" ? { authorization: basic(credential) } : {},
      };
    }
    const answer = await this.#fetch(request, signal);
    if (answer.status !== 200)
      throw responseError(
        `log in to ${this.#registry}`,
        answer.status,
        Buffer.from(answer.body.subarray(0, 65_536)).toString(),
      );
    return parseToken(answer.body, this.#registry);
  }
}

function parseToken(body: Uint8Array, registry: string): Token {
  const answer = parseJsonObject(body, `the token of ${registry}`, maxAnswerBytes);
  const value = [answer["token"], answer["access_token"]].find(
    item => typeof item === "string" && item !== "",
  ) as string | undefined;
  if (!isObject(answer) || value === undefined || /[\r\n\s]/.test(value))
    throw new OcidError("UNAVAILABLE", `the token server of ${registry} answered without a token`);
  const lifetime =
    typeof answer["expires_in"] === "number" && answer["expires_in"] > 0
      ? Math.min(answer["expires_in"], 3600)
      : 60;
  // A little early, so that a token does not expire on its way.
  return { value, expires: Date.now() + lifetime * 900 };
}

function basic(credential: Extract<Credential, { kind: "basic" }>): string {
  return `Basic ${Buffer.from(`${credential.username}:${credential.password}`).toString("base64")}`;
}
