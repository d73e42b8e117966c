import type { Duplex } from "node:stream";
import { messageOf } from "@ocid/base";
import { forwardConnection, forwardFailure, isPort } from "./forward-connection.ts";
import { SpdyConnection } from "./spdy/connection.ts";
import type { SpdyStream } from "./spdy/stream.ts";
import type { StreamTimes } from "./stream-times.ts";
import type { ForwardRequest, StreamingBackend } from "./streaming-backend.ts";

interface Pair {
  data?: SpdyStream;
  error?: SpdyStream;
  readonly timer: NodeJS.Timeout;
}

/** Port-forward over SPDY: each connection is a pair of streams, data and error, that name the port and share a request id. */
export function serveSpdyPortForward(
  backend: StreamingBackend,
  request: ForwardRequest,
  socket: Duplex,
  head: Buffer,
  { creationTimeoutMs, probeMs }: StreamTimes,
): void {
  const pairs = new Map<string, Pair>();
  const connection = new SpdyConnection(
    socket,
    head,
    headers =>
      isPort(Number(headers.get("port"))) && ["data", "error"].includes(headers.get("streamtype") ?? ""),
    { probeMs },
  );
  connection.on("stream", stream => {
    const kind = stream.headers.get("streamtype") as "data" | "error";
    // Clients without request ids open the error stream first and the data stream next.
    const id = stream.headers.get("requestid") ?? String(kind === "error" ? stream.id : stream.id - 2);
    let pair = pairs.get(id);
    if (!pair) {
      const timer = setTimeout(() => {
        pairs.delete(id);
        pair?.error?.end("timed out waiting for the other stream of the pair");
        pair?.data?.destroy();
      }, creationTimeoutMs);
      pair = { timer };
      pairs.set(id, pair);
    }
    if (pair[kind]) {
      stream.destroy();
      return;
    }
    pair[kind] = stream;
    if (!pair.data || !pair.error) return;
    clearTimeout(pair.timer);
    pairs.delete(id);
    void forward(backend, request.sandboxId, Number(pair.data.headers.get("port")), pair.data, pair.error);
  });
  connection.on("close", () => {
    for (const pair of pairs.values()) clearTimeout(pair.timer);
  });
}

async function forward(
  backend: StreamingBackend,
  sandboxId: string,
  port: number,
  data: SpdyStream,
  error: SpdyStream,
): Promise<void> {
  error.resume();
  try {
    await forwardConnection(backend, sandboxId, port, data);
    error.end();
  } catch (failure) {
    // The client reads the reason before it sees the data stream end.
    error.end(forwardFailure(port, sandboxId, messageOf(failure)), () => data.destroy());
  }
}
