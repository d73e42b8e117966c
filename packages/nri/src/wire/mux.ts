import type { Duplex } from "node:stream";
import { OcidError, wrapError } from "@ocid/base";
import { FrameReader } from "./frame-reader.ts";
import { maxMessageBytes, messageHeaderBytes } from "./ttrpc-frames.ts";

const headerBytes = 8;
const maxPayloadBytes = messageHeaderBytes + maxMessageBytes;
/** What a peer may leave unread before it is given up. */
const maxUnreadBytes = 4 * maxPayloadBytes;

/**
 * Several connections over one socket: each piece is preceded by the connection's number and the piece's length, 32 bits
 * each, big end first. Pieces for a connection that nobody has opened are dropped.
 */
export class Mux {
  readonly #trunk: Duplex;
  readonly #onClose: (error: OcidError | undefined) => void;
  readonly #receivers = new Map<number, (bytes: Buffer) => void>();
  #open = true;

  /** `onClose` is called once, with what broke the connection. */
  constructor(trunk: Duplex, onClose: (error: OcidError | undefined) => void) {
    this.#trunk = trunk;
    this.#onClose = onClose;
    const reader = new FrameReader({ headerBytes, lengthAt: 4, maxPayloadBytes }, (header, payload) =>
      this.#receivers.get(header.readUInt32BE(0))?.(payload),
    );
    trunk.on("data", (bytes: Buffer) => {
      if (!this.#open) return;
      try {
        reader.push(bytes);
      } catch (error) {
        this.close(wrapError("read from the socket", error));
      }
    });
    trunk.on("error", error => {
      // Whoever leaves while something is written to it has left all the same.
      const left = ["EPIPE", "ECONNRESET"].includes((error as NodeJS.ErrnoException).code ?? "");
      this.close(left ? undefined : wrapError("the connection broke", error, "UNAVAILABLE"));
    });
    trunk.on("close", () => this.close());
    trunk.on("end", () => this.close());
  }

  receive(connection: number, receiver: (bytes: Buffer) => void): void {
    this.#receivers.set(connection, receiver);
  }

  /** Each piece is a frame of its own. */
  send(connection: number, pieces: readonly Uint8Array[]): void {
    if (!this.#open) return;
    const parts = pieces.flatMap(piece => {
      const header = Buffer.alloc(headerBytes);
      header.writeUInt32BE(connection, 0);
      header.writeUInt32BE(piece.byteLength, 4);
      return [header, piece];
    });
    this.#trunk.write(Buffer.concat(parts));
    if (this.#trunk.writableLength > maxUnreadBytes)
      this.close(new OcidError("RESOURCE_EXHAUSTED", "the other side does not read what it is sent"));
  }

  close(error?: OcidError): void {
    if (!this.#open) return;
    this.#open = false;
    this.#trunk.destroy();
    this.#onClose(error);
  }
}
