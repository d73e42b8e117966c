import { messageOf } from "@ocid/base";

/** How a session came to its end. */
export type SessionEnd = { readonly exitCode: number } | { readonly error: unknown };

/** A `metav1.Status` in JSON, as protocols from version 4 carry it on the error channel (KEP-3122, remotecommand). */
export function statusJson(end: SessionEnd): string {
  if ("error" in end) {
    const message = messageOf(end.error);
    return JSON.stringify({
      metadata: {},
      status: "Failure",
      message,
      reason: "InternalError",
      details: { causes: [{ message }] },
      code: 500,
    });
  }
  if (end.exitCode === 0) return JSON.stringify({ metadata: {}, status: "Success" });
  return JSON.stringify({
    metadata: {},
    status: "Failure",
    message: exitText(end.exitCode),
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: String(end.exitCode) }] },
  });
}

/** What older protocols carry: a sentence, or nothing when all went well. */
export function statusText(end: SessionEnd): string {
  if ("error" in end) return messageOf(end.error);
  return end.exitCode === 0 ? "" : exitText(end.exitCode);
}

function exitText(exitCode: number): string {
  return `command terminated with non-zero exit code: exit status ${exitCode}`;
}
