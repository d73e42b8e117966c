import { constants } from "node:os";
import { codeOf, isOcidError, OcidError } from "@ocid/base";

const names = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) {
  // EAGAIN and EWOULDBLOCK, ENOTSUP and EOPNOTSUPP share a number; keep the name that people search for.
  if (name !== "EWOULDBLOCK" && name !== "ENOTSUP") names.set(number, name);
}

export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}

/** The error of a failed system call: names the call, what it was about, and the kernel's answer. */
export function systemError(call: string, errno: number, about?: string): OcidError {
  const name = errnoName(errno);
  const code = codeOf({ code: name }, "INTERNAL");
  return new OcidError(code, `${call}${about === undefined ? "" : ` ${about}`}: ${name}`, {
    reason: name,
    details: { call, errno },
  });
}

/** `ENOENT`, `EBUSY` …: the kernel's answer, of our errors and of Node's. */
export function errnoOf(error: unknown): string | undefined {
  if (isOcidError(error)) return error.reason?.startsWith("E") ? error.reason : errnoOf(error.cause);
  const code = typeof error === "object" && error !== null ? (error as { code?: unknown }).code : undefined;
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}
