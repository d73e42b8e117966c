import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";
import type { SessionEnd } from "./session-status.ts";
import type { SessionRequest, SessionStreams, StreamingBackend } from "./streaming-backend.ts";

/** Lets the backend run a session to its end, and its output reach the client. Never rejects. */
export async function runSession(
  backend: StreamingBackend,
  request: SessionRequest,
  streams: SessionStreams,
  signal: AbortSignal,
): Promise<SessionEnd> {
  const end = await run(backend, request, streams, signal).catch((error: unknown) => ({ error }));
  await Promise.all([flush(streams.stdout), flush(streams.stderr)]);
  return end;
}

async function run(
  backend: StreamingBackend,
  request: SessionRequest,
  streams: SessionStreams,
  signal: AbortSignal,
): Promise<SessionEnd> {
  if (request.kind === "exec") {
    const { containerId, argv, tty } = request;
    return await backend.exec({ containerId, argv, tty }, streams, signal);
  }
  await backend.attach({ containerId: request.containerId, tty: request.tty }, streams, signal);
  return { exitCode: 0 };
}

async function flush(stream: Writable | undefined): Promise<void> {
  if (!stream) return;
  if (!stream.writableEnded) stream.end();
  // A client that has gone takes nothing any more; the session has ended all the same.
  await finished(stream, { readable: false }).catch(() => {});
}
