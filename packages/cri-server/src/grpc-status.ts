import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { codeOf, type ErrorCode, isOcidError, type Logger, messageOf } from "@ocid/base";

/** The one place where errors become gRPC statuses. What is not an OcidError is a bug: INTERNAL, logged with its stack. */
export function toServiceError(error: unknown, method: string, logger: Logger): ServiceError {
  const known = isOcidError(error) || codeOf(error) === "CANCELLED" || codeOf(error) === "DEADLINE_EXCEEDED";
  const code: ErrorCode = known ? codeOf(error) : "INTERNAL";
  const message = messageOf(error);
  if (!known) logger.error("unexpected failure", { method, error });
  return Object.assign(new Error(message), {
    code: status[code],
    details: message,
    metadata: new Metadata(),
  });
}
