import type { Worker } from "node:worker_threads";
import { messageOf, OcidError } from "@ocid/base";
import { launchWorker } from "@ocid/host";
import type { LayerTarget } from "./apply-stream.ts";
import { fromErrorMessage, resourceLimits } from "./layer-messages.ts";
import { PieceRing, ringEnd } from "./piece-ring.ts";
import type { PlainFacts, PlainSink } from "./plain-layer.ts";
import type { UnpackAnswer, UnpackRequest } from "./unpack-worker.ts";

// One for the thread, kept: a thread applies one layer at a time.
let kept: { readonly worker: Worker; readonly ring: PieceRing } | undefined;

/** Unpacks a layer's tar in a thread of its own, while this one inflates what follows. */
export class RemotePlainLayer implements PlainSink {
  readonly #ring: PieceRing;
  readonly #answer: Promise<PlainFacts | undefined>;

  constructor(target: LayerTarget) {
    kept ??= {
      worker: launchWorker("unpack-worker", new URL("./unpack-worker.ts", import.meta.url), {
        resourceLimits,
      }),
      ring: new PieceRing(),
    };
    const { worker, ring } = kept;
    this.#ring = ring;
    ring.reset();
    // Only what is to travel: a job has functions beside.
    const { digest, size, directory, tarSplitPath, maxBytes, maxEntries } = target;
    const limits = {
      ...(maxBytes === undefined ? {} : { maxBytes }),
      ...(maxEntries === undefined ? {} : { maxEntries }),
    };
    this.#answer = ask(worker, {
      memory: ring.memory,
      target: { digest, size, directory, ...(tarSplitPath === undefined ? {} : { tarSplitPath }), ...limits },
    });
    // Whoever writes next, or finishes, is told.
    this.#answer.catch(() => ring.end(ringEnd.refused));
  }

  next(): Uint8Array {
    const slot = this.#ring.next();
    if (slot === undefined) throw new Refused(this.#answer);
    return slot;
  }

  take(length: number): void {
    this.#ring.push(length);
  }

  async finish(): Promise<PlainFacts> {
    this.#ring.end(ringEnd.complete);
    const facts = await this.#answer;
    if (facts === undefined) throw new OcidError("INTERNAL", "a layer was given up and finished");
    return facts;
  }

  async close(): Promise<void> {
    this.#ring.end(ringEnd.abandoned);
    await this.#answer.catch(() => {});
  }
}

/** Thrown where the other thread has failed; why that was comes a moment later. */
export class Refused extends Error {
  readonly #answer: Promise<unknown>;

  constructor(answer: Promise<unknown>) {
    super("the thread that unpacks has failed");
    this.#answer = answer;
  }

  async reason(): Promise<unknown> {
    return await this.#answer.then(
      () => this,
      error => error,
    );
  }
}

function ask(worker: Worker, request: UnpackRequest): Promise<PlainFacts | undefined> {
  return new Promise((resolve, reject) => {
    const settle = (finish: () => void) => {
      worker.off("message", onMessage);
      worker.off("error", onEnd);
      worker.off("exit", onEnd);
      finish();
    };
    const onMessage = (answer: UnpackAnswer) =>
      settle(() => ("error" in answer ? reject(fromErrorMessage(answer.error)) : resolve(answer.facts)));
    const onEnd = (error: unknown) => {
      kept = undefined;
      settle(() =>
        reject(new OcidError("INTERNAL", `the thread that unpacks has ended: ${messageOf(error)}`)),
      );
    };
    worker.on("message", onMessage);
    worker.once("error", onEnd);
    worker.once("exit", onEnd);
    worker.postMessage(request);
  });
}
