import { redact } from "./redact.ts";

/** gRPC's status names without OK; the closed vocabulary of every error in OCID (grpc.io, "Status codes and their use"). */
export const errorCodes = [
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

export type ErrorCode = (typeof errorCodes)[number];

export interface OcidErrorOptions {
  /** A stable word for programs that need more than the code, such as `RegistryUnavailable`. */
  readonly reason?: string | undefined;
  /** Values that belong to the failure: names, digests, sizes. Never secrets. */
  readonly details?: Readonly<Record<string, string | number | boolean>> | undefined;
  readonly cause?: unknown;
}

const mark = Symbol.for("ocid.error");

/**
 * The one error class of OCID. Messages are lower case without a full stop and name the thing and its value;
 * credentials and URL queries are cut out here, so that no caller can leak them.
 */
export class OcidError extends Error {
  readonly code: ErrorCode;
  readonly reason: string | undefined;
  readonly details: Readonly<Record<string, string | number | boolean>> | undefined;

  constructor(code: ErrorCode, message: string, options: OcidErrorOptions = {}) {
    super(redact(message), options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "OcidError";
    Object.defineProperty(this, mark, { value: true });
    this.code = code;
    this.reason = options.reason;
    this.details = options.details;
  }
}

/** Recognises an OcidError of any copy of this package; `instanceof` would fail across duplicated installs. */
export function isOcidError(value: unknown, code?: ErrorCode): value is OcidError {
  if (typeof value !== "object" || value === null || !(mark in value)) return false;
  return code === undefined || (value as unknown as OcidError).code === code;
}

/**
 * Wraps what another package or Node threw, once, at a package's boundary: `what` says what was being done. The code of
 * an OcidError is kept, an abort becomes CANCELLED, and the errno of a system error is mapped; the rest is `fallback`.
 */
export function wrapError(what: string, cause: unknown, fallback: ErrorCode = "INTERNAL"): OcidError {
  const first = firstThrown(cause);
  const reason = isOcidError(first) ? first.reason : undefined;
  const details = isOcidError(first) ? first.details : undefined;
  return new OcidError(codeOf(cause, fallback), `${what}: ${messageOf(cause)}`, { cause, reason, details });
}

/** The code that a thrown value stands for. */
export function codeOf(thrown: unknown, fallback: ErrorCode = "UNKNOWN"): ErrorCode {
  const value = firstThrown(thrown);
  if (isOcidError(value)) return value.code;
  if (typeof value !== "object" || value === null) return fallback;
  const { name, code } = value as { name?: unknown; code?: unknown };
  if (name === "AbortError" || code === "ABORT_ERR") return "CANCELLED";
  if (name === "TimeoutError") return "DEADLINE_EXCEEDED";
  return (typeof code === "string" && errnoCodes[code]) || fallback;
}

/** The text of a thrown value, redacted. */
export function messageOf(thrown: unknown): string {
  const value = firstThrown(thrown);
  if (value instanceof Error || isOcidError(value)) return redact(value.message || value.name);
  return redact(String(value));
}

/**
 * Where giving something back fails as well, what is thrown says only that (ECMAScript, SuppressedError); what went wrong
 * is what was thrown before.
 */
function firstThrown(value: unknown): unknown {
  let first = value;
  while (first instanceof SuppressedError) first = first.suppressed;
  return first;
}

const errnoCodes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: "NOT_FOUND",
  EEXIST: "ALREADY_EXISTS",
  EACCES: "PERMISSION_DENIED",
  EPERM: "PERMISSION_DENIED",
  EROFS: "FAILED_PRECONDITION",
  ENOSPC: "RESOURCE_EXHAUSTED",
  EDQUOT: "RESOURCE_EXHAUSTED",
  EMFILE: "RESOURCE_EXHAUSTED",
  ENFILE: "RESOURCE_EXHAUSTED",
  ENOMEM: "RESOURCE_EXHAUSTED",
  EIO: "DATA_LOSS",
  EINVAL: "INVALID_ARGUMENT",
  ENAMETOOLONG: "INVALID_ARGUMENT",
  ENOSYS: "UNIMPLEMENTED",
  EOPNOTSUPP: "UNIMPLEMENTED",
  ETIMEDOUT: "DEADLINE_EXCEEDED",
  ECONNREFUSED: "UNAVAILABLE",
  ECONNRESET: "UNAVAILABLE",
  EHOSTUNREACH: "UNAVAILABLE",
  ENETUNREACH: "UNAVAILABLE",
  ENOTFOUND: "UNAVAILABLE",
  EAI_AGAIN: "UNAVAILABLE",
  EPIPE: "UNAVAILABLE",
};
