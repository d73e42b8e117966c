import { codeOf, type ErrorCode, isOcidError, messageOf, OcidError } from "@ocid/base";

/** An error on its way between threads, whose structured clone would drop code, reason and details. */
export interface ThreadError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly reason?: string;
  readonly details?: Readonly<Record<string, string | number | boolean>>;
}

export function toThreadError(error: unknown): ThreadError {
  const known = isOcidError(error) ? error : undefined;
  const errno = (error as { code?: unknown } | null)?.code;
  const reason = known?.reason ?? (typeof errno === "string" && !known ? errno : undefined);
  return {
    code: codeOf(error, "INTERNAL"),
    message: messageOf(error),
    ...(reason === undefined ? {} : { reason }),
    ...(known?.details === undefined ? {} : { details: known.details }),
  };
}

export function fromThreadError(error: ThreadError): OcidError {
  return new OcidError(error.code, error.message, { reason: error.reason, details: error.details });
}
