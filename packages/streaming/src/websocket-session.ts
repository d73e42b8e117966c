import { PassThrough } from "node:stream";
import { OcidError } from "@ocid/base";
import type { WebSocket } from "ws";
import { runSession } from "./run-session.ts";
import { statusJson, statusText } from "./session-status.ts";
import type { SessionRequest, StreamingBackend } from "./streaming-backend.ts";
import { TerminalResizes } from "./terminal-resizes.ts";
import { channels, WebSocketChannels } from "./websocket-channels.ts";

const stdinBufferBytes = 256 * 1024;
const lingerMs = 10_000;

/** Exec and attach over WebSocket, protocols 1, 4 and 5 and their base64 forms. */
export async function serveWebSocketSession(
  backend: StreamingBackend,
  request: SessionRequest,
  socket: WebSocket,
): Promise<void> {
  const wire = new WebSocketChannels(socket);
  const gone = new AbortController();
  const resizes = new TerminalResizes();
  const stdin = request.stdin ? new PassThrough({ highWaterMark: stdinBufferBytes }) : undefined;
  stdin?.on("error", () => {});
  stdin?.on("drain", () => socket.resume());
  const closes = socket.protocol === "v5.channel.k8s.io";
  wire.onMessage((channel, bytes) => {
    if (closes && channel === channels.close) {
      if (bytes[0] === channels.stdin) stdin?.end();
      if (bytes[0] === channels.resize) resizes.end();
    } else if (channel === channels.resize) resizes.feed(bytes);
    else if (channel === channels.stdin && stdin && !stdin.writableEnded && !stdin.write(bytes))
      socket.pause();
  });
  socket.on("close", () => {
    stdin?.end();
    resizes.end();
    gone.abort(new OcidError("CANCELLED", "the client has gone"));
  });
  const stdout = request.stdout ? wire.writable(channels.stdout) : undefined;
  const stderr = request.stderr ? wire.writable(channels.stderr) : undefined;
  // Clients take an empty message as the sign that the session is there.
  wire.send(
    request.stdout ? channels.stdout : request.stderr ? channels.stderr : channels.error,
    Buffer.alloc(0),
  );
  const end = await runSession(
    backend,
    request,
    { stdin, stdout, stderr, ...(request.tty ? { resizes } : {}) },
    gone.signal,
  );
  resizes.end();
  wire.send(
    channels.error,
    Buffer.from(/^v[45]\./.test(socket.protocol) ? statusJson(end) : statusText(end)),
  );
  socket.resume();
  socket.close(1000);
  setTimeout(() => socket.terminate(), lingerMs).unref();
}
