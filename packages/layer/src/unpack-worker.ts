import { parentPort } from "node:worker_threads";
import type { LayerTarget } from "./apply-stream.ts";
import { Crc64, type SumMemory } from "./crc64.ts";
import { type ErrorMessage, toErrorMessage } from "./layer-messages.ts";
import { PieceRing, ringEnd } from "./piece-ring.ts";
import { type PlainFacts, PlainLayer } from "./plain-layer.ts";

/** What the thread is asked: to unpack what comes through a ring. */
export interface UnpackRequest {
  readonly memory: SumMemory;
  readonly target: LayerTarget;
}

/** Undefined where the writer has given up. */
export type UnpackAnswer = { readonly facts: PlainFacts | undefined } | { readonly error: ErrorMessage };

// The tar's half of a layer, on another processor than the blob's. Blocks until the ring ends.
parentPort?.on("message", ({ memory, target }: UnpackRequest) => {
  parentPort?.postMessage(unpack(new PieceRing(memory), target));
});

function unpack(ring: PieceRing, target: LayerTarget): UnpackAnswer {
  let layer: PlainLayer | undefined;
  try {
    const opened = new PlainLayer(target, new Crc64(ring.memory));
    layer = opened;
    const how = ring.drain(piece => opened.write(piece));
    return { facts: how === ringEnd.complete ? opened.finishNow() : undefined };
  } catch (error) {
    ring.end(ringEnd.refused);
    return { error: toErrorMessage(error) };
  } finally {
    layer?.closeNow();
  }
}
