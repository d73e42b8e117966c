import { Duplex } from "node:stream";
import { resetStatus } from "./frames.ts";

/** What a stream needs of the connection that carries it. */
export interface StreamCarrier {
  /** Calls back when the connection can take more. */
  send(streamId: number, bytes: Buffer, fin: boolean, done: (error?: Error | null) => void): void;
  reset(streamId: number, status: number): void;
  /** The stream's buffer has room again. */
  resume(stream: SpdyStream): void;
  forget(stream: SpdyStream): void;
}

const readBufferBytes = 256 * 1024;

/** One stream of a connection; either half ends by itself. Destroying it before both have ended resets it. */
export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly #carrier: StreamCarrier;
  #sent = false;
  #received = false;

  constructor(carrier: StreamCarrier, id: number, headers: ReadonlyMap<string, string>) {
    super({ allowHalfOpen: true, readableHighWaterMark: readBufferBytes });
    this.id = id;
    this.headers = headers;
    this.#carrier = carrier;
    // The connection's end is told by the connection.
    this.on("error", () => {});
  }

  override _read(): void {
    this.#carrier.resume(this);
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#carrier.send(this.id, chunk, false, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#sent = true;
    this.#carrier.send(this.id, Buffer.alloc(0), true, done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.#sent || !this.#received) this.#carrier.reset(this.id, resetStatus.cancel);
    this.#carrier.forget(this);
    done(error);
  }

  /** @internal Whether there is room for more. */
  receive(bytes: Buffer): boolean {
    return this.#received || this.destroyed || this.push(bytes);
  }

  /** @internal */
  receiveEnd(): void {
    if (this.#received || this.destroyed) return;
    this.#received = true;
    this.push(null);
  }

  /** @internal The other side has thrown the stream away. */
  receiveReset(): void {
    this.#sent = true;
    this.#received = true;
    this.destroy();
  }
}
