import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { codeOf, type ErrorCode, isOcidError, type Logger, messageOf } from "@ocid/base";

/**
 * The one place where errors become gRPC statuses. What is not an OcidError is a bug: INTERNAL, logged with its stack.
 * An image that the policy refuses is told the way the kubelet recognises it (cri-api, pkg/errors): by how the message
 * begins, which it looks at only where the code is UNKNOWN.
 */
export function toServiceError(error: unknown, method: string, logger: Logger): ServiceError {
  const known = isOcidError(error) || codeOf(error) === "CANCELLED" || codeOf(error) === "DEADLINE_EXCEEDED";
  const rejected = isOcidError(error) && error.reason === "PolicyRejected";
  const code: ErrorCode = rejected ? "UNKNOWN" : known ? codeOf(error) : "INTERNAL";
  const message = rejected ? `SignatureValidationFailed: ${messageOf(error)}` : messageOf(error);
  if (!known) logger.error("unexpected failure", { method, error });
  return Object.assign(new Error(message), {
    code: status[code],
    details: message,
    metadata: new Metadata(),
  });
}
