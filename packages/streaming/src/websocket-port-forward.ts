import { Duplex } from "node:stream";
import { messageOf } from "@ocid/base";
import type { WebSocket } from "ws";
import { forwardConnection, forwardFailure } from "./forward-connection.ts";
import type { ForwardRequest, StreamingBackend } from "./streaming-backend.ts";
import { WebSocketChannels } from "./websocket-channels.ts";

/** Port-forward over WebSocket channels: for the n-th port channel 2n carries data and 2n+1 errors; each begins with the port, two bytes, little-endian. */
export async function serveWebSocketPortForward(
  backend: StreamingBackend,
  request: ForwardRequest,
  socket: WebSocket,
): Promise<void> {
  const wire = new WebSocketChannels(socket);
  const streams = request.ports.map((port, at) => {
    const stream = new Duplex({
      read: () => socket.resume(),
      write: (chunk: Buffer, _, done) => wire.send(2 * at, chunk, done),
      // The protocol cannot say that one direction has ended, so the pod's end is the end of both.
      final(done) {
        this.push(null);
        done();
      },
    });
    stream.on("error", () => {});
    const name = Buffer.alloc(2);
    name.writeUInt16LE(port);
    wire.send(2 * at, name);
    wire.send(2 * at + 1, name);
    return { port, stream };
  });
  wire.onMessage((channel, bytes) => {
    const stream = channel % 2 === 0 ? streams[channel / 2]?.stream : undefined;
    if (stream && !stream.writableEnded && !stream.destroyed && !stream.push(bytes)) socket.pause();
  });
  socket.on("close", () => {
    for (const { stream } of streams) stream.destroy();
  });
  await Promise.all(
    streams.map(({ port, stream }, at) =>
      forwardConnection(backend, request.sandboxId, port, stream).catch(error =>
        wire.send(2 * at + 1, Buffer.from(forwardFailure(port, request.sandboxId, messageOf(error)))),
      ),
    ),
  );
  socket.close(1000);
}
