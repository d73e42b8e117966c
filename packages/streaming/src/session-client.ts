import type { Readable, Writable } from "node:stream";
import { OcidError } from "@ocid/base";
import { WebSocket } from "ws";
import type { TerminalSize } from "./streaming-backend.ts";
import { channels, WebSocketChannels } from "./websocket-channels.ts";

export interface SessionClientOptions {
  readonly stdin?: Readable;
  readonly stdout?: Writable;
  readonly stderr?: Writable;
  readonly resizes?: AsyncIterable<TerminalSize>;
  readonly signal?: AbortSignal;
}

/**
 * Joins an exec or attach session at its URL (WebSocket, protocol 5) with streams of ours, and returns the exit code
 * when it has ended; attach ends with 0. The streams are left open. UNAVAILABLE when the connection breaks.
 */
export async function joinSession(url: string, options: SessionClientOptions): Promise<number> {
  options.signal?.throwIfAborted();
  const socket = new WebSocket(url.replace(/^http/, "ws"), ["v5.channel.k8s.io"], {
    perMessageDeflate: false,
  });
  const abort = () => socket.terminate();
  options.signal?.addEventListener("abort", abort, { once: true });
  try {
    return await run(socket, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    options.signal?.removeEventListener("abort", abort);
    socket.terminate();
  }
}

async function run(
  socket: WebSocket,
  { stdin, stdout, stderr, resizes }: SessionClientOptions,
): Promise<number> {
  const wire = new WebSocketChannels(socket);
  let status: string | undefined;
  wire.onMessage((channel, bytes) => {
    if (channel === channels.error && bytes.byteLength > 0) status = bytes.toString();
    const target = channel === channels.stdout ? stdout : channel === channels.stderr ? stderr : undefined;
    if (!target || bytes.byteLength === 0 || target.write(bytes)) return;
    socket.pause();
    target.once("drain", () => socket.resume());
  });
  const closed = new Promise<void>((resolve, reject) => {
    socket.once("close", () => resolve());
    socket.once("error", error =>
      reject(
        new OcidError("UNAVAILABLE", `the session cannot be joined: ${error.message}`, { cause: error }),
      ),
    );
  });
  socket.once("open", () => {
    if (stdin) sendInput(socket, wire, stdin);
    if (resizes) void sendSizes(wire, resizes).catch(() => {});
  });
  await closed;
  if (status === undefined)
    throw new OcidError("UNAVAILABLE", "the session was cut off before its end was told");
  return exitCodeOf(status);
}

function sendInput(socket: WebSocket, wire: WebSocketChannels, stdin: Readable): void {
  const send = (bytes: Buffer) => {
    stdin.pause();
    wire.send(channels.stdin, bytes, () => stdin.resume());
  };
  const end = () => wire.send(channels.close, Buffer.of(channels.stdin));
  stdin.on("data", send);
  stdin.once("end", end);
  socket.once("close", () => {
    stdin.off("data", send);
    stdin.off("end", end);
    stdin.pause();
  });
}

async function sendSizes(wire: WebSocketChannels, resizes: AsyncIterable<TerminalSize>): Promise<void> {
  for await (const { width, height } of resizes)
    wire.send(channels.resize, Buffer.from(JSON.stringify({ Width: width, Height: height })));
}

function exitCodeOf(text: string): number {
  let status: {
    status?: string;
    reason?: string;
    message?: string;
    details?: { causes?: { message?: string }[] };
  };
  try {
    status = JSON.parse(text);
  } catch {
    throw new OcidError("INTERNAL", `the session ended with what is no status: ${text.slice(0, 200)}`);
  }
  if (status.status === "Success") return 0;
  const code = Number(status.details?.causes?.[0]?.message);
  if (status.reason === "NonZeroExitCode" && Number.isInteger(code)) return code;
  throw new OcidError("FAILED_PRECONDITION", status.message ?? "the session failed");
}
