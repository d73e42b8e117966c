import { getPriority, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { syncFilesystemNow } from "@ocid/host";
import type { BlobSource } from "@ocid/spec";
import { runLayerJob } from "./layer-job.ts";
import {
  type FromWorker,
  fromErrorMessage,
  type LayerWorkerData,
  type SourceMessage,
  type ToWorker,
  toErrorMessage,
} from "./layer-messages.ts";

// On Linux that is the calling thread alone, and those that it starts.
const { niceness } = workerData as LayerWorkerData;
if (niceness > 0) setPriority(0, Math.min(19, getPriority(0) + niceness));

// Does one thing at a time; the pool sends the next when this one is done.
let abort = new AbortController();
let answered: ((message: ToWorker) => void) | undefined;
const send = (message: FromWorker) => parentPort?.postMessage(message);

parentPort?.on("message", (message: ToWorker) => {
  if (message.type === "apply") void apply(message);
  else if (message.type === "sync") sync(message.path);
  else if (message.type === "abort") {
    abort.abort();
    answered?.(message);
  } else answered?.(message);
});

async function apply(job: Extract<ToWorker, { type: "apply" }>): Promise<void> {
  abort = new AbortController();
  let told = 0;
  try {
    const applied = await runLayerJob(
      {
        ...job.target,
        source: localSource(job.source),
        twoThreads: job.twoThreads,
        ...(job.partialPath === undefined ? {} : { partialPath: job.partialPath }),
      },
      {
        signal: abort.signal,
        onBytes(bytes) {
          const now = performance.now();
          if (now - told < 50) return;
          told = now;
          send({ type: "bytes", bytes });
        },
      },
    );
    send({ type: "bytes", bytes: applied.size });
    send({ type: "done", applied });
  } catch (error) {
    send({ type: "failed", error: toErrorMessage(error) });
  }
}

function sync(path: string): void {
  try {
    syncFilesystemNow(path);
    send({ type: "synced" });
  } catch (error) {
    send({ type: "failed", error: toErrorMessage(error) });
  }
}

function localSource(source: SourceMessage): BlobSource {
  if (source.kind === "file") return source;
  if (source.kind === "http") {
    const { canRenew, ...rest } = source;
    if (!canRenew) return rest;
    return {
      ...rest,
      renew: async challenge =>
        ((await ask({ type: "renew", challenge })) as Extract<ToWorker, { type: "renewed" }>).headers,
    };
  }
  return {
    kind: "stream",
    async *open(offset) {
      for (;;) {
        const message = (await ask({ type: "pull", offset })) as Extract<ToWorker, { type: "chunk" }>;
        if (message.error) throw fromErrorMessage(message.error);
        if (message.bytes === undefined) return;
        yield message.bytes;
      }
    },
  };
}

async function ask(question: FromWorker): Promise<ToWorker> {
  const answer = new Promise<ToWorker>(resolve => {
    answered = resolve;
  });
  send(question);
  const message = await answer;
  answered = undefined;
  if (message.type === "abort") throw abort.signal.reason;
  return message;
}
