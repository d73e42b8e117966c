import { constants } from "node:os";
import { codeOf, type ErrorCode, isOcidError, OcidError } from "@ocid/base";

const names = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) {
  // EAGAIN and EWOULDBLOCK, ENOTSUP and EOPNOTSUPP share a number; keep the name that people search for.
  if (name !== "EWOULDBLOCK" && name !== "ENOTSUP") names.set(number, name);
}

export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}

// What only system calls answer; the common errnos are mapped by @ocid/base.
const kernelCodes: Readonly<Record<string, ErrorCode>> = {
  E2BIG: "INVALID_ARGUMENT",
  EAGAIN: "UNAVAILABLE",
  EBUSY: "FAILED_PRECONDITION",
  EISDIR: "FAILED_PRECONDITION",
  ELOOP: "FAILED_PRECONDITION",
  ENODATA: "NOT_FOUND",
  ENODEV: "FAILED_PRECONDITION",
  ENOEXEC: "FAILED_PRECONDITION",
  ENOTDIR: "FAILED_PRECONDITION",
  ENOTEMPTY: "FAILED_PRECONDITION",
  ESRCH: "NOT_FOUND",
  ETXTBSY: "FAILED_PRECONDITION",
  EXDEV: "FAILED_PRECONDITION",
};

/** The error of a failed system call: names the call, what it was about, and the kernel's answer. */
export function systemError(call: string, errno: number, about?: string): OcidError {
  const name = errnoName(errno);
  const code = kernelCodes[name] ?? codeOf({ code: name }, "INTERNAL");
  return new OcidError(code, `${call}${about === undefined ? "" : ` ${about}`}: ${name}`, {
    reason: name,
    details: { call, errno },
  });
}

/** The same of an error that node:fs has thrown; what is no system error is returned as it is. */
export function systemErrorOf(error: unknown, call: string, about: string): unknown {
  const errno = (error as { errno?: unknown } | null)?.errno;
  return typeof errno === "number" ? systemError(call, Math.abs(errno), about) : error;
}

const errnoPattern = /^E[A-Z0-9]+$/;

/** `ENOENT`, `EBUSY` …: the kernel's answer, of our errors (their cause included) and of Node's. */
export function errnoOf(error: unknown): string | undefined {
  if (isOcidError(error))
    return error.reason !== undefined && errnoPattern.test(error.reason)
      ? error.reason
      : errnoOf(error.cause);
  const code = typeof error === "object" && error !== null ? (error as { code?: unknown }).code : undefined;
  return typeof code === "string" && errnoPattern.test(code) ? code : undefined;
}
