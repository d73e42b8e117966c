import type { Duplex } from "node:stream";
import { finished } from "node:stream/promises";
import { OcidError } from "@ocid/base";
import { runSession } from "./run-session.ts";
import { statusJson, statusText } from "./session-status.ts";
import { SpdyConnection } from "./spdy/connection.ts";
import type { SpdyStream } from "./spdy/stream.ts";
import type { StreamTimes } from "./stream-times.ts";
import type { SessionRequest, StreamingBackend } from "./streaming-backend.ts";
import { TerminalResizes } from "./terminal-resizes.ts";

/** Exec and attach over SPDY: the client opens a stream for each of error, stdin, stdout, stderr, resize. */
export async function serveSpdySession(
  backend: StreamingBackend,
  request: SessionRequest,
  protocol: string,
  socket: Duplex,
  head: Buffer,
  { creationTimeoutMs, probeMs }: StreamTimes,
): Promise<void> {
  const wanted = wantedStreams(request, protocol);
  const streams = new Map<string, SpdyStream>();
  const accept = (headers: ReadonlyMap<string, string>) => {
    const type = headers.get("streamtype") ?? "";
    return wanted.has(type) && !streams.has(type);
  };
  const connection = new SpdyConnection(socket, head, accept, { probeMs });
  const gone = new AbortController();
  connection.on("close", () => gone.abort(new OcidError("CANCELLED", "the client has gone")));
  if (!(await allOpened(connection, streams, wanted, creationTimeoutMs))) return connection.destroy();
  const resizes = new TerminalResizes();
  streams
    .get("resize")
    ?.on("data", (bytes: Buffer) => resizes.feed(bytes))
    .on("close", () => resizes.end());
  const end = await runSession(
    backend,
    request,
    {
      stdin: streams.get("stdin"),
      stdout: streams.get("stdout"),
      stderr: streams.get("stderr"),
      ...(streams.has("resize") ? { resizes } : {}),
    },
    gone.signal,
  );
  resizes.end();
  const status = streams.get("error")!;
  status.end(protocol === "v4.channel.k8s.io" ? statusJson(end) : statusText(end));
  await finished(status, { readable: false }).catch(() => {});
  connection.end();
}

function wantedStreams(request: SessionRequest, protocol: string): ReadonlySet<string> {
  return new Set([
    "error",
    ...(request.stdin ? ["stdin"] : []),
    ...(request.stdout ? ["stdout"] : []),
    ...(request.stderr ? ["stderr"] : []),
    ...(request.tty && /^v[34]\./.test(protocol) ? ["resize"] : []),
  ]);
}

function allOpened(
  connection: SpdyConnection,
  streams: Map<string, SpdyStream>,
  wanted: ReadonlySet<string>,
  timeoutMs: number,
): Promise<boolean> {
  return new Promise(resolve => {
    const timer = setTimeout(() => resolve(false), timeoutMs);
    connection.once("close", () => {
      clearTimeout(timer);
      resolve(false);
    });
    connection.on("stream", stream => {
      streams.set(stream.headers.get("streamtype")!, stream);
      if (streams.size < wanted.size) return;
      clearTimeout(timer);
      resolve(true);
    });
  });
}
