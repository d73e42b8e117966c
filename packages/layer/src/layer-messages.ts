import { codeOf, type ErrorCode, isOcidError, messageOf, OcidError } from "@ocid/base";
import type { BlobSource, HttpBlobSource } from "@ocid/spec";
import type { AppliedLayer, LayerTarget } from "./apply-stream.ts";

/**
 * Of the threads that unpack: what they make is dropped at once, and a young generation of V8's usual size would only
 * hold more of it (174 MiB instead of 108 for a layer of 200,000 files, at the same CPU time).
 */
export const resourceLimits = { maxYoungGenerationSizeMb: 16 } as const;

/** What a thread of the pool is started with. */
export interface LayerWorkerData {
  readonly niceness: number;
}

/** A blob source as it travels to a worker: functions stay behind and are called by message. */
export type SourceMessage =
  | Exclude<BlobSource, { kind: "stream" | "http" }>
  | (Omit<HttpBlobSource, "renew"> & { readonly canRenew: boolean })
  | { readonly kind: "stream" };

export type ToWorker =
  | {
      readonly type: "apply";
      readonly target: LayerTarget;
      readonly partialPath?: string;
      readonly twoThreads: boolean;
      readonly source: SourceMessage;
    }
  | { readonly type: "sync"; readonly path: string }
  | { readonly type: "abort" }
  | { readonly type: "renewed"; readonly headers: Readonly<Record<string, string>> | undefined }
  | { readonly type: "chunk"; readonly bytes: Uint8Array | undefined; readonly error?: ErrorMessage };

export type FromWorker =
  | { readonly type: "bytes"; readonly bytes: number }
  | { readonly type: "renew"; readonly challenge: string | undefined }
  | { readonly type: "pull"; readonly offset: number }
  | { readonly type: "done"; readonly applied: AppliedLayer }
  | { readonly type: "synced" }
  | { readonly type: "failed"; readonly error: ErrorMessage };

/** An error as it travels between threads, which would strip it of its class. */
export interface ErrorMessage {
  readonly code: ErrorCode;
  readonly message: string;
  readonly reason?: string | undefined;
  readonly details?: OcidError["details"];
}

export function fromErrorMessage(error: ErrorMessage): OcidError {
  return new OcidError(error.code, error.message, { reason: error.reason, details: error.details });
}

export function toErrorMessage(error: unknown): ErrorMessage {
  if (isOcidError(error))
    return { code: error.code, message: error.message, reason: error.reason, details: error.details };
  return { code: codeOf(error, "INTERNAL"), message: messageOf(error) };
}
