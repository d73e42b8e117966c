import { availableParallelism } from "node:os";
import { setImmediate } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { isOcidError, Semaphore } from "@ocid/base";
import { launchWorker } from "@ocid/host";
import type { AppliedLayer } from "./apply-stream.ts";
import { type LayerWorkerData, resourceLimits } from "./layer-messages.ts";
import { type ApplyLayerRequest, applyOn, syncOn } from "./layer-thread.ts";
import { UnfinishedLayers } from "./unfinished-layers.ts";

/**
 * Threads that fetch and apply layers, one whole layer each; one that outweighs what the others still have to do gets a
 * second to unpack.
 */
export interface LayerPool extends AsyncDisposable {
  /** Starts a thread unless there is one, before it is known which layers it is for: a start takes some 20 ms of processor. */
  prepare(): void;
  /**
   * Fetches, verifies and unpacks a layer into an empty directory. Fails with DATA_LOSS for wrong bytes,
   * INVALID_ARGUMENT for an archive that is not to be unpacked; what lies in the directory then is the caller's to remove.
   */
  apply(request: ApplyLayerRequest): Promise<AppliedLayer>;
  /** Writes everything of a path's file system to the disk (syncfs(2)), in one of the threads. */
  sync(path: string): Promise<void>;
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
  const unfinished = new UnfinishedLayers();
  const launch = (): Worker =>
    launchWorker("layer-worker", new URL("./layer-worker.ts", import.meta.url), {
      resourceLimits,
      workerData: { niceness: options.niceness ?? 0 } satisfies LayerWorkerData,
    });
  const keep = (worker: Worker) => {
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
  const withThread = async <T>(work: (worker: Worker) => Promise<T>): Promise<T> => {
    const kept = idle.pop();
    clearTimeout(kept?.timer);
    const worker = kept?.worker ?? launch();
    worker.ref();
    busy.add(worker);
    let usable = true;
    try {
      return await work(worker);
    } catch (error) {
      usable = !isOcidError(error) || error.reason !== "WorkerEnded";
      throw error;
    } finally {
      busy.delete(worker);
      if (usable) keep(worker);
    }
  };
  return {
    prepare() {
      if (idle.length + busy.size === 0) keep(launch());
    },
    async apply(request) {
      unfinished.begin(request, request.size);
      using _request = { [Symbol.dispose]: () => unfinished.end(request) };
      using _place = await places.acquire(request.signal);
      // The other layers of an image come in by then.
      await setImmediate();
      const onBytes = (bytes: number) => {
        unfinished.note(request, request.size - bytes);
        request.onBytes?.(bytes);
      };
      return await withThread(worker => applyOn(worker, { ...request, onBytes }, unfinished.isLast(request)));
    },
    // Not counted among those that unpack: it waits for the disk.
    sync: path => withThread(worker => syncOn(worker, path)),
    async [Symbol.asyncDispose]() {
      for (const { timer } of idle) clearTimeout(timer);
      await Promise.all([...idle.map(entry => entry.worker), ...busy].map(worker => worker.terminate()));
      idle.length = 0;
    },
  };
}
