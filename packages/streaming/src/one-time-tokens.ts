import { randomBytes } from "node:crypto";

export interface TokenOptions {
  /** How long a token may be redeemed. Default one minute. */
  readonly lifetimeMs?: number;
  /** Most tokens that are out at once; the oldest gives way. Default 1000. */
  readonly max?: number;
}

/** Hands requests out as tokens that work once: the token is all that a URL needs to carry, and all the credential it is. */
export class OneTimeTokens<T> {
  readonly #lifetimeMs: number;
  readonly #max: number;
  /** In the order in which they were issued, so the first is the oldest. */
  readonly #issued = new Map<string, { readonly request: T; readonly expires: number }>();

  constructor(options: TokenOptions = {}) {
    this.#lifetimeMs = options.lifetimeMs ?? 60_000;
    this.#max = options.max ?? 1000;
  }

  /** 22 characters, safe in a URL, from 16 random bytes. */
  issue(request: T): string {
    this.#forgetExpired();
    for (const [oldest] of this.#issued) {
      if (this.#issued.size < this.#max) break;
      this.#issued.delete(oldest);
    }
    const token = randomBytes(16).toString("base64url");
    this.#issued.set(token, { request, expires: performance.now() + this.#lifetimeMs });
    return token;
  }

  /** What the token was issued for; undefined when it is unknown, used or too old. */
  redeem(token: string): T | undefined {
    const found = this.#issued.get(token);
    this.#issued.delete(token);
    return found && found.expires > performance.now() ? found.request : undefined;
  }

  #forgetExpired(): void {
    const now = performance.now();
    for (const [token, { expires }] of this.#issued) {
      if (expires > now) break;
      this.#issued.delete(token);
    }
  }
}
