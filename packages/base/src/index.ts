export {
  codeOf,
  type ErrorCode,
  errorCodes,
  isOcidError,
  messageOf,
  OcidError,
  type OcidErrorOptions,
  wrapError,
} from "./error.ts";
export { KeyedLock } from "./keyed-lock.ts";
export { linkSignal } from "./link-signal.ts";
export { type LogFields, type Logger, silentLogger } from "./logger.ts";
export {
  bindOperations,
  type Operation,
  type OperationObserver,
  observeOperations,
  operationChannelName,
  traced,
} from "./operation.ts";
export { Pace, type PaceOptions } from "./pace.ts";
export { randomHex } from "./random-hex.ts";
export { readCapped } from "./read-capped.ts";
export { redact } from "./redact.ts";
export { type RetryOptions, retry } from "./retry.ts";
export { parseRetryAfter } from "./retry-after.ts";
export { Semaphore } from "./semaphore.ts";
export { SharedFlight } from "./shared-flight.ts";
export { sweepAtomic, writeAtomic } from "./write-atomic.ts";
