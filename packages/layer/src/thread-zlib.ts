import type { Worker } from "node:worker_threads";
import { OcidError } from "@ocid/base";
import { launchWorker } from "@ocid/host";
import { turn, ZlibExchange } from "./zlib-exchange.ts";
import type { ZlibKind, ZlibParts } from "./zlib-kinds.ts";

/** One chunk is a matter of milliseconds; whoever says nothing for so long has died. */
const silenceMs = 60_000;

/** What the thread is asked: to begin, to take a chunk, or, without one, to end. */
export type ZlibRequest =
  | { readonly kind: ZlibKind; readonly memory: SharedArrayBuffer }
  | { readonly chunk: Uint8Array | undefined };

/** By node:zlib's public streams, which answer later than they are called: in a thread, for which this one waits. */
export class ThreadZlib implements ZlibParts {
  readonly #worker: Worker;
  readonly #exchange = new ZlibExchange();
  readonly #output: () => Uint8Array;

  constructor(kind: ZlibKind, output: () => Uint8Array) {
    this.#output = output;
    this.#worker = launchWorker("zlib-worker", new URL("./zlib-worker.ts", import.meta.url));
    this.#worker.unref();
    this.#ask({ kind, memory: this.#exchange.memory });
  }

  write(chunk: Uint8Array, take: (piece: Uint8Array) => void): void {
    this.#run(chunk, take);
  }

  finish(take: (piece: Uint8Array) => void): void {
    this.#run(undefined, take);
  }

  close(): void {
    void this.#worker.terminate();
  }

  #ask(request: ZlibRequest): void {
    this.#worker.postMessage(request);
  }

  #run(chunk: Uint8Array | undefined, take: (piece: Uint8Array) => void): void {
    this.#exchange.give(turn.working);
    // A copy of what may be a part of a much larger buffer.
    this.#ask({ chunk: chunk && Uint8Array.from(chunk) });
    for (;;) {
      const whose = this.#exchange.waitWhile(turn.working, silenceMs);
      if (whose === turn.done) return;
      if (whose === turn.working) throw new OcidError("INTERNAL", "the thread that inflates does not answer");
      if (whose === turn.failed)
        throw new OcidError(
          "DATA_LOSS",
          `compressed data is damaged: ${Buffer.from(this.#exchange.piece).toString()}`,
        );
      this.#hand(this.#exchange.piece, take);
      this.#exchange.give(turn.working);
    }
  }

  #hand(piece: Uint8Array, take: (piece: Uint8Array) => void): void {
    for (let at = 0; at < piece.byteLength; ) {
      const output = this.#output();
      const part = piece.subarray(at, at + output.byteLength);
      output.set(part);
      take(output.subarray(0, part.byteLength));
      at += part.byteLength;
    }
  }
}
