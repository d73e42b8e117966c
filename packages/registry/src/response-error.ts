import { type ErrorCode, OcidError } from "@ocid/base";
import { isObject } from "@ocid/spec";

/** The distribution-spec's error codes ("Error Codes") as ours, where they say more than the status does. */
const codes: Readonly<Record<string, ErrorCode>> = {
  BLOB_UNKNOWN: "NOT_FOUND",
  MANIFEST_UNKNOWN: "NOT_FOUND",
  NAME_UNKNOWN: "NOT_FOUND",
  MANIFEST_BLOB_UNKNOWN: "FAILED_PRECONDITION",
  DIGEST_INVALID: "DATA_LOSS",
  SIZE_INVALID: "DATA_LOSS",
  MANIFEST_INVALID: "INVALID_ARGUMENT",
  NAME_INVALID: "INVALID_ARGUMENT",
  UNAUTHORIZED: "UNAUTHENTICATED",
  DENIED: "PERMISSION_DENIED",
  UNSUPPORTED: "UNIMPLEMENTED",
  TOOMANYREQUESTS: "RESOURCE_EXHAUSTED",
};

function codeOfStatus(status: number): ErrorCode {
  if (status === 401) return "UNAUTHENTICATED";
  if (status === 403) return "PERMISSION_DENIED";
  if (status === 404) return "NOT_FOUND";
  if (status === 405 || status === 501) return "UNIMPLEMENTED";
  if (status === 429) return "RESOURCE_EXHAUSTED";
  if (status >= 500) return "UNAVAILABLE";
  return "FAILED_PRECONDITION";
}

/** An error for an answer that is not what was asked for; `what` says what was being done. */
export function responseError(what: string, status: number, body: string, retryAfterMs?: number): OcidError {
  const first = firstError(body);
  const code = (first && codes[first.code]) ?? codeOfStatus(status);
  const said = first
    ? `${first.code}${first.message ? `: ${first.message}` : ""}`
    : `the registry answered ${status}`;
  const advice = code === "UNAUTHENTICATED" ? " (log in, or check the user name and password)" : "";
  return new OcidError(code, `${what}: ${said}${advice}`, {
    reason: first?.code,
    details: { status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) },
  });
}

function firstError(body: string): { readonly code: string; readonly message: string } | undefined {
  try {
    const errors: unknown = JSON.parse(body).errors;
    const [first] = Array.isArray(errors) ? errors : [];
    if (!isObject(first) || typeof first["code"] !== "string") return undefined;
    return {
      code: first["code"].slice(0, 100),
      message: typeof first["message"] === "string" ? first["message"].slice(0, 500) : "",
    };
  } catch {
    return undefined;
  }
}
