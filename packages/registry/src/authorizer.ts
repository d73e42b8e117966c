import { OcidError, parseRetryAfter, SharedFlight } from "@ocid/base";
import { isLinkLocal } from "@ocid/base/redirects";
import { parseJsonObject } from "@ocid/spec";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Credential } from "./credentials.ts";
import { responseError } from "./response-error.ts";

/** What may be done in a repository; as in distribution's token scopes. */
export type Action = "pull" | "push" | "delete";

/** What a request needs to be let in. */
export interface Access {
  /** Empty for the registry as a whole. */
  readonly repository: string;
  readonly actions: readonly Action[];
  /** Another repository to read from, of which a blob is mounted. */
  readonly mountFrom?: string | undefined;
}

export interface TokenRequest {
  readonly url: URL;
  readonly method: "GET" | "POST";
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface AuthorizerOptions {
  readonly registry: string;
  /** Secrets may go over plain HTTP. */
  readonly insecure: boolean;
  readonly findCredential: (name: string) => Promise<Credential | undefined>;
  /** Sends a request to a token server and collects the answer, capped. */
  readonly fetch: (
    request: TokenRequest,
    signal?: AbortSignal,
  ) => Promise<{
    readonly status: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: Uint8Array;
  }>;
}

interface Token {
  readonly value: string;
  readonly expires: number;
}

const maxAnswerBytes = 1024 * 1024;

/** Finds the Authorization header that a registry wants to see, and remembers it until it expires. */
export class Authorizer {
  readonly #options: AuthorizerOptions;
  readonly #tokens = new Map<string, Token>();
  readonly #flights = new SharedFlight<Token>();
  #challenge: Challenge | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /** The header to send, as far as is known without asking. */
  async header(access: Access, signal?: AbortSignal): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (!challenge) return undefined;
    const { registry, findCredential } = this.#options;
    const { repository } = access;
    const credential = await findCredential(repository === "" ? registry : `${registry}/${repository}`);
    if (credential?.kind === "registryToken") return `Bearer ${credential.token}`;
    if (challenge.scheme === "basic") return credential?.kind === "basic" ? basic(credential) : undefined;
    const scopes = scopesOf(access);
    const key = scopes.join(" ");
    const known = this.#tokens.get(key);
    if (known && known.expires > Date.now()) return `Bearer ${known.value}`;
    const token = await this.#flights.join(
      key,
      flightSignal => this.#requestToken(challenge, scopes, credential, flightSignal),
      signal,
    );
    this.#tokens.set(key, token);
    return `Bearer ${token.value}`;
  }

  /** Takes in what a 401 said; false when there is no way that we know. */
  learn(header: string | undefined, access: Access): boolean {
    const challenges = parseChallenges(header ?? "");
    const found =
      challenges.find(
        challenge => challenge.scheme === "bearer" && challenge.parameters["realm"] !== undefined,
      ) ?? challenges.find(challenge => challenge.scheme === "basic");
    if (!found) return false;
    this.#challenge = found;
    this.#tokens.delete(scopesOf(access).join(" "));
    return true;
  }

  async #requestToken(
    challenge: Challenge,
    scopes: readonly string[],
    credential: Credential | undefined,
    signal: AbortSignal,
  ): Promise<Token> {
    const { registry, fetch } = this.#options;
    const { realm = "", service } = challenge.parameters;
    const url = this.#tokenServer(realm, credential !== undefined);
    const answer = await fetch(tokenRequest(url, service, scopes, credential), signal);
    if (answer.status !== 200)
      throw responseError(
        `log in to ${registry}`,
        answer.status,
        Buffer.from(answer.body.subarray(0, 65_536)).toString(),
        parseRetryAfter(answer.headers["retry-after"]),
      );
    return parseToken(answer.body, registry);
  }

  /** The registry says where to take secrets to; not everywhere is a place for them. */
  #tokenServer(realm: string, isSecret: boolean): URL {
    const { registry, insecure } = this.#options;
    const refuse = (why: string) =>
      new OcidError(
        "FAILED_PRECONDITION",
        `${registry} names a token server ${why}: ${JSON.stringify(realm.slice(0, 100))}`,
        { reason: "TokenServerRefused" },
      );
    if (!URL.canParse(realm) || !/^https?:$/.test(new URL(realm).protocol)) throw refuse("that is no URL");
    const url = new URL(realm);
    if (isLinkLocal(url.hostname.replace(/^\[|\]$/g, ""))) throw refuse("at a link-local address");
    if (isSecret && url.protocol === "http:" && !insecure)
      throw refuse("that would be sent the password without encryption");
    return url;
  }
}

/** A token's request: OAuth2 for identity tokens, else distribution's own GET (distribution-spec, token authentication). */
function tokenRequest(
  url: URL,
  service: string | undefined,
  scopes: readonly string[],
  credential: Credential | undefined,
): TokenRequest {
  if (credential?.kind === "identityToken") {
    const form = new URLSearchParams();
    if (service !== undefined) form.set("service", service);
    if (scopes.length > 0) form.set("scope", scopes.join(" "));
    form.set("grant_type", "refresh_token");
    form.set("client_id", "ocid");
    form.set("refresh_token", credential.token);
    return {
      url,
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: form.toString(),
    };
  }
  if (service !== undefined) url.searchParams.set("service", service);
  for (const scope of scopes) url.searchParams.append("scope", scope);
  return {
    url,
    method: "GET",
    headers: credential?.kind === "basic" ? { authorization: basic(credential) } : {},
  };
}

function scopesOf({ repository, actions, mountFrom }: Access): readonly string[] {
  return [
    ...(repository === "" ? [] : [`repository:${repository}:${actions.join(",")}`]),
    ...(mountFrom === undefined ? [] : [`repository:${mountFrom}:pull`]),
  ];
}

function parseToken(body: Uint8Array, registry: string): Token {
  const answer = parseJsonObject(body, `the token of ${registry}`, maxAnswerBytes);
  const value = [answer["token"], answer["access_token"]].find(
    item => typeof item === "string" && item !== "",
  ) as string | undefined;
  if (value === undefined || !/^[\x21-\x7e]+$/.test(value))
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
