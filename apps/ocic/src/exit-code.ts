import { codeOf, type ErrorCode, messageOf } from "@ocid/base";

/** Exit codes of `ocic`: 0 is success, 2 a wrong command line; these are what a program can tell apart. */
const codes: Partial<Record<ErrorCode, number>> = {
  INVALID_ARGUMENT: 2,
  NOT_FOUND: 3,
  ALREADY_EXISTS: 4,
  PERMISSION_DENIED: 5,
  UNAUTHENTICATED: 5,
  UNAVAILABLE: 6,
  DEADLINE_EXCEEDED: 6,
  FAILED_PRECONDITION: 7,
  RESOURCE_EXHAUSTED: 8,
  DATA_LOSS: 9,
  UNIMPLEMENTED: 10,
  CANCELLED: 130,
};

export function exitCodeOf(error: unknown): number {
  // So the daemon tells a refusal of its image policy, to which the kubelet knows no code.
  if (messageOf(error).startsWith("SignatureValidationFailed")) return codes.PERMISSION_DENIED!;
  return codes[codeOf(error)] ?? 1;
}

/** Ends the command with a code of its own, after its output; not an error. */
export class ExitWith {
  readonly code: number;
  constructor(code: number) {
    this.code = code;
  }
}
