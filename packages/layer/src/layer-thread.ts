import type { Worker } from "node:worker_threads";
import { codeOf, isOcidError, messageOf, OcidError } from "@ocid/base";
import type { BlobSource } from "@ocid/spec";
import type { AppliedLayer, LayerTarget } from "./apply-stream.ts";
import { type FromWorker, fromErrorMessage, type SourceMessage, type ToWorker } from "./layer-messages.ts";

export interface ApplyLayerRequest extends LayerTarget {
  readonly source: BlobSource;
  /**
   * Files `<path>.<offset>` keep the blob as it comes, so that a download that was killed goes on, and a large one may
   * come over several connections; removed on success. One job at a time may use a path. Default: nothing is kept.
   */
  readonly partialPath?: string;
  /** Bytes of the blob taken so far, some twenty times a second. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Has a thread apply a layer. INTERNAL (reason WorkerEnded) when it ends before. */
export function applyOn(
  worker: Worker,
  request: ApplyLayerRequest,
  twoThreads: boolean,
): Promise<AppliedLayer> {
  const { source, onBytes, signal, partialPath, ...target } = request;
  const post = (message: ToWorker) => worker.postMessage(message);
  let chunks: AsyncIterator<Uint8Array> | undefined;
  const abort = () => post({ type: "abort" });
  const answer = answerOf(
    worker,
    `the thread that unpacks layer ${target.digest}`,
    (message, resolve: (applied: AppliedLayer) => void, reject) => {
      switch (message.type) {
        case "bytes":
          return onBytes?.(message.bytes);
        case "done":
          return resolve(message.applied);
        case "failed":
          return reject(signal?.aborted ? signal.reason : fromErrorMessage(message.error));
        case "renew":
          return void renew(source, message.challenge).then(headers => post({ type: "renewed", headers }));
        case "pull":
          chunks ??=
            source.kind === "stream"
              ? source.open(message.offset, signal)[Symbol.asyncIterator]()
              : undefined;
          return void nextChunk(chunks).then(post);
      }
    },
  ).finally(() => {
    signal?.removeEventListener("abort", abort);
    void chunks?.return?.();
  });
  signal?.addEventListener("abort", abort, { once: true });
  post({
    type: "apply",
    target,
    twoThreads,
    source: travelling(source),
    ...(partialPath === undefined ? {} : { partialPath }),
  });
  if (signal?.aborted) abort();
  return answer;
}

/** Has a thread call syncfs(2), which blocks it. */
export function syncOn(worker: Worker, path: string): Promise<void> {
  const answer = answerOf<void>(worker, `the thread that syncs ${path}`, (message, resolve, reject) => {
    if (message.type === "synced") resolve();
    else if (message.type === "failed") reject(fromErrorMessage(message.error));
  });
  worker.postMessage({ type: "sync", path } satisfies ToWorker);
  return answer;
}

/** What a thread says until `take` has settled it; INTERNAL (reason WorkerEnded) when the thread, `what`, ends before. */
function answerOf<T>(
  worker: Worker,
  what: string,
  take: (message: FromWorker, resolve: (value: T) => void, reject: (error: unknown) => void) => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const settle = (finish: () => void) => {
      worker.off("message", onMessage);
      worker.off("error", onEnd);
      worker.off("exit", onEnd);
      finish();
    };
    const onMessage = (message: FromWorker) =>
      take(
        message,
        value => settle(() => resolve(value)),
        error => settle(() => reject(error)),
      );
    const onEnd = (error: unknown) =>
      settle(() =>
        reject(
          new OcidError("INTERNAL", `${what} has ended: ${messageOf(error)}`, {
            reason: "WorkerEnded",
            cause: error,
          }),
        ),
      );
    worker.on("message", onMessage);
    worker.once("error", onEnd);
    worker.once("exit", onEnd);
  });
}

function travelling(source: BlobSource): SourceMessage {
  if (source.kind === "stream") return { kind: "stream" };
  if (source.kind === "file") return source;
  const { renew: renewer, ...rest } = source;
  return { ...rest, canRenew: renewer !== undefined };
}

async function renew(
  source: BlobSource,
  challenge: string | undefined,
): Promise<Readonly<Record<string, string>> | undefined> {
  if (source.kind !== "http") return undefined;
  return source.renew?.(challenge).catch(() => undefined);
}

async function nextChunk(chunks: AsyncIterator<Uint8Array> | undefined): Promise<ToWorker> {
  try {
    const next = await chunks?.next();
    return { type: "chunk", bytes: next === undefined || next.done ? undefined : next.value };
  } catch (error) {
    const known = isOcidError(error) ? { reason: error.reason, details: error.details } : {};
    return {
      type: "chunk",
      bytes: undefined,
      error: { code: codeOf(error, "INTERNAL"), message: messageOf(error), ...known },
    };
  }
}
