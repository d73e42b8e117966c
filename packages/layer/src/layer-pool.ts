import { availableParallelism } from "node:os";
import { setImmediate } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { codeOf, isOcidError, messageOf, OcidError, Semaphore } from "@ocid/base";
import { launchWorker } from "@ocid/host";
import type { BlobSource } from "@ocid/spec";
import type { AppliedLayer, LayerTarget } from "./apply-stream.ts";
import {
  type FromWorker,
  fromErrorMessage,
  type LayerWorkerData,
  resourceLimits,
  type SourceMessage,
  type ToWorker,
} from "./layer-messages.ts";

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

/** Threads that fetch and apply layers, one whole layer each; one that outweighs all others gets a second to unpack. */
export interface LayerPool extends AsyncDisposable {
  /**
   * Fetches, verifies and unpacks a layer into an empty directory. Fails with DATA_LOSS for wrong bytes,
   * INVALID_ARGUMENT for an archive that is not to be unpacked; what lies in the directory then is the caller's to remove.
   */
  apply(request: ApplyLayerRequest): Promise<AppliedLayer>;
}

export interface LayerPoolOptions {
  /** Default one for each processor, at most 3; more do not make it faster. They end when idle for 30 s. */
  readonly threads?: number | undefined;
  /**
   * How far the threads stand back from others of the process that want the processors too, 0 to 19 (nice(2); on Linux
   * a thread has its own). Default 0.
   */
  readonly niceness?: number | undefined;
}

export function createLayerPool(options: LayerPoolOptions = {}): LayerPool {
  const threads = options.threads || Math.min(3, availableParallelism());
  const places = new Semaphore(threads);
  const idle: { readonly worker: Worker; readonly timer: NodeJS.Timeout }[] = [];
  const busy = new Set<Worker>();
  const unfinished = new Set<ApplyLayerRequest>();
  const take = (): Worker => {
    const kept = idle.pop();
    clearTimeout(kept?.timer);
    const worker =
      kept?.worker ??
      launchWorker("layer-worker", new URL("./layer-worker.ts", import.meta.url), {
        resourceLimits,
        workerData: { niceness: options.niceness ?? 0 } satisfies LayerWorkerData,
      });
    worker.ref();
    busy.add(worker);
    return worker;
  };
  const giveBack = (worker: Worker) => {
    busy.delete(worker);
    worker.unref();
    const timer = setTimeout(() => {
      idle.splice(
        idle.findIndex(entry => entry.worker === worker),
        1,
      );
      void worker.terminate();
    }, 30_000).unref();
    idle.push({ worker, timer });
  };
  return {
    async apply(request) {
      unfinished.add(request);
      using _request = { [Symbol.dispose]: () => void unfinished.delete(request) };
      using _place = await places.acquire(request.signal);
      // The other layers of an image come in by then.
      await setImmediate();
      const worker = take();
      let usable = true;
      try {
        return await runOn(worker, request, isLarge(request, unfinished));
      } catch (error) {
        usable = !isOcidError(error) || error.reason !== "WorkerEnded";
        throw error;
      } finally {
        if (usable) giveBack(worker);
        else busy.delete(worker);
      }
    },
    async [Symbol.asyncDispose]() {
      for (const { timer } of idle) clearTimeout(timer);
      await Promise.all([...idle.map(entry => entry.worker), ...busy].map(worker => worker.terminate()));
      idle.length = 0;
    },
  };
}

const worthTwoThreads = 4 * 1024 * 1024;

/** Whether a layer would go on alone when all others are done: it decides when the image is there. */
function isLarge(request: ApplyLayerRequest, unfinished: ReadonlySet<ApplyLayerRequest>): boolean {
  let others = -request.size;
  for (const { size } of unfinished) others += size;
  return request.size >= worthTwoThreads && request.size > others;
}

function runOn(worker: Worker, request: ApplyLayerRequest, twoThreads: boolean): Promise<AppliedLayer> {
  const { source, onBytes, signal, partialPath, ...target } = request;
  const post = (message: ToWorker) => worker.postMessage(message);
  return new Promise((resolve, reject) => {
    let chunks: AsyncIterator<Uint8Array> | undefined;
    const settle = (finish: () => void) => {
      worker.off("message", onMessage);
      worker.off("error", onEnd);
      worker.off("exit", onEnd);
      signal?.removeEventListener("abort", abort);
      void chunks?.return?.();
      finish();
    };
    const onEnd = (error: unknown) =>
      settle(() =>
        reject(
          new OcidError(
            "INTERNAL",
            `the thread that unpacks layer ${target.digest} has ended: ${messageOf(error)}`,
            { reason: "WorkerEnded", cause: error },
          ),
        ),
      );
    const abort = () => post({ type: "abort" });
    const onMessage = (message: FromWorker) => {
      switch (message.type) {
        case "bytes":
          return onBytes?.(message.bytes);
        case "done":
          return settle(() => resolve(message.applied));
        case "failed":
          return settle(() => reject(signal?.aborted ? signal.reason : fromErrorMessage(message.error)));
        case "renew":
          return void renew(source, message.challenge).then(headers => post({ type: "renewed", headers }));
        case "pull":
          chunks ??=
            source.kind === "stream"
              ? source.open(message.offset, signal)[Symbol.asyncIterator]()
              : undefined;
          return void nextChunk(chunks).then(post);
      }
    };
    worker.on("message", onMessage);
    worker.once("error", onEnd);
    worker.once("exit", onEnd);
    signal?.addEventListener("abort", abort, { once: true });
    post({
      type: "apply",
      target,
      twoThreads,
      source: travelling(source),
      ...(partialPath === undefined ? {} : { partialPath }),
    });
    if (signal?.aborted) abort();
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
