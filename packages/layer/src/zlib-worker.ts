import { once } from "node:events";
import { setImmediate as turnOfOthers } from "node:timers/promises";
import { parentPort } from "node:worker_threads";
import type { ZlibRequest } from "./thread-zlib.ts";
import { turn, ZlibExchange } from "./zlib-exchange.ts";
import { openZlib } from "./zlib-kinds.ts";

type Stream = ReturnType<typeof openZlib>;

let exchange: ZlibExchange;
let stream: Stream;
/** Resolved once the stream has ended, also before its input has; rejected when it failed. Callbacks then never come. */
let ended: Promise<unknown>;
let given = 0;

// Bytes go through a public stream of node:zlib; the caller waits, and takes each piece before the next one is made.
parentPort?.on("message", async (request: ZlibRequest) => {
  if ("kind" in request) {
    exchange = new ZlibExchange(request.memory);
    stream = openZlib(request.kind);
    stream.on("data", hand);
    ended = once(stream, "end");
    // Told to the caller when it asks; nobody else is to hear of it.
    ended.catch(() => {});
    stream.on("error", () => {});
    return;
  }
  try {
    if (request.chunk === undefined) await end();
    else await write(request.chunk);
    exchange.give(turn.done);
  } catch (error) {
    exchange.give(turn.failed, Buffer.from((error as Error).message));
  }
});

function hand(piece: Uint8Array): void {
  for (let rest = piece; rest.byteLength > 0; ) {
    rest = exchange.give(turn.piece, rest);
    while (exchange.waitWhile(turn.piece) === turn.piece);
  }
}

async function write(chunk: Uint8Array): Promise<void> {
  given += chunk.byteLength;
  await Promise.race([new Promise(resolve => stream.write(chunk, resolve)), ended]);
  // What it has made of the chunk may come out a little later.
  while (stream.readableLength > 0) await turnOfOthers();
  checkRest();
}

async function end(): Promise<void> {
  stream.end();
  await ended;
}

/** A stream passes over what comes after the end of compressed data. */
function checkRest(): void {
  const rest = given - stream.bytesWritten;
  if (rest > 0) throw new Error(`${rest} bytes after its end`);
}
