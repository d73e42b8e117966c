import { Writable } from "node:stream";
import type { RawData, WebSocket } from "ws";

/** Channel numbers of a session (KEP-4006). */
export const channels = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

/** Messages whose first byte, or first digit in the base64 protocols, is the number of their channel. */
export class WebSocketChannels {
  readonly #socket: WebSocket;
  readonly #base64: boolean;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    this.#base64 = /(^|\.)base64\./.test(socket.protocol);
  }

  send(channel: number, bytes: Uint8Array, done: (error?: Error | null) => void = () => {}): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return done(new Error("the connection is closed"));
    const message = this.#base64
      ? `${channel}${Buffer.from(bytes).toString("base64")}`
      : Buffer.concat([Buffer.of(channel), bytes]);
    this.#socket.send(message, { binary: !this.#base64 }, error => done(error ?? null));
  }

  /** What writes to a channel; it is written as fast as the connection takes it. */
  writable(channel: number): Writable {
    const stream = new Writable({
      write: (chunk: Buffer, _, done) => this.send(channel, chunk, done),
    });
    stream.on("error", () => {});
    return stream;
  }

  onMessage(listener: (channel: number, bytes: Buffer) => void): void {
    this.#socket.on("message", (data: RawData) => {
      const message = Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data as Buffer);
      if (message.byteLength === 0) return;
      if (!this.#base64) listener(message[0]!, message.subarray(1));
      else listener(message[0]! - 0x30, Buffer.from(message.toString("latin1", 1), "base64"));
    });
  }
}
