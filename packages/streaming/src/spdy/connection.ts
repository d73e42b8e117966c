import { EventEmitter } from "node:events";
import type { Duplex } from "node:stream";
import { OcidError } from "@ocid/base";
import {
  controlFrame,
  dataFrameHead,
  flagFin,
  frameTypes,
  resetStatus,
  SpdyFrameReader,
  words,
} from "./frames.ts";
import { HeaderBlockReader } from "./header-block.ts";
import { SpdyStream, type StreamCarrier } from "./stream.ts";

/** A block without headers, as stored deflate: what is sent needs no compressor. */
const zlibHead = Buffer.from([0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);
const emptyBlock = Buffer.from([0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
const maxDataBytes = 64 * 1024;
const maxStreams = 1000;
const lingerMs = 10_000;
/** A PING by the client's own counting that it has not sent: it must ignore it (SPDY/3.1 draft, section 2.6.5). */
const ignoredPing = 0x7fffffff;

export interface SpdyConnectionOptions {
  /** How often a client is looked after whose connection is not read, because a stream's buffer is full. */
  readonly probeMs: number;
}

interface Events {
  stream: [SpdyStream];
  /** Once, with the reason when the other side broke the protocol. */
  close: [Error | undefined];
}

/**
 * The server's side of SPDY/3.1 as Kubernetes' clients speak it: they open the streams, and neither send nor honour
 * WINDOW_UPDATE, so back-pressure is TCP's: while one stream's buffer is full the whole connection is not read.
 */
export class SpdyConnection extends EventEmitter<Events> implements StreamCarrier {
  readonly #socket: Duplex;
  readonly #accept: (headers: ReadonlyMap<string, string>) => boolean;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #full = new Set<SpdyStream>();
  readonly #frames = new SpdyFrameReader();
  readonly #headers = new HeaderBlockReader();
  #waiting: ((error?: Error | null) => void)[] = [];
  #replied = false;
  #lastId = 0;
  #reading = false;
  #ended = false;
  #closed = false;
  #going = false;
  readonly #probeMs: number;
  #probe: NodeJS.Timeout | undefined;

  /** @param accept Whether a stream with these headers is wanted; others are refused one by one. */
  constructor(
    socket: Duplex,
    head: Buffer,
    accept: (headers: ReadonlyMap<string, string>) => boolean,
    options: SpdyConnectionOptions,
  ) {
    super();
    this.#socket = socket;
    this.#accept = accept;
    this.#probeMs = options.probeMs;
    socket.on("data", (bytes: Buffer) => {
      this.#frames.push(bytes);
      void this.#read();
    });
    // Clients never close half of the connection: its end means that they have gone.
    socket.on("end", () => {
      this.#ended = true;
      void this.#read();
    });
    socket.on("drain", () => this.#release());
    socket.on("error", () => this.destroy());
    socket.on("close", () => this.destroy());
    if (head.byteLength > 0) {
      this.#frames.push(head);
      queueMicrotask(() => void this.#read());
    }
  }

  /** Sends what is queued, then closes; a client that does not close in turn is cut off after 10 s. */
  end(): void {
    if (this.#closed) return;
    this.#socket.end();
    const timer = setTimeout(() => this.destroy(), lingerMs);
    timer.unref();
    this.once("close", () => clearTimeout(timer));
  }

  destroy(reason?: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#probe);
    this.#socket.destroy();
    this.#headers.close();
    for (const stream of [...this.#streams.values()]) stream.receiveReset();
    this.#release();
    this.emit("close", reason);
  }

  /** @internal */
  send(streamId: number, bytes: Buffer, fin: boolean, done: (error?: Error | null) => void): void {
    if (this.#closed || this.#socket.writableEnded)
      return done(new OcidError("UNAVAILABLE", "the connection is closed"));
    this.#socket.cork();
    let at = 0;
    do {
      const piece = bytes.subarray(at, at + maxDataBytes);
      at += piece.byteLength;
      this.#socket.write(
        dataFrameHead(streamId, fin && at >= bytes.byteLength ? flagFin : 0, piece.byteLength),
      );
      if (piece.byteLength > 0) this.#socket.write(piece);
    } while (at < bytes.byteLength);
    this.#socket.uncork();
    if (this.#socket.writableNeedDrain) this.#waiting.push(done);
    else done();
  }

  /** @internal */
  reset(streamId: number, status: number): void {
    this.#control(frameTypes.resetStream, words(streamId, status));
  }

  /** @internal */
  resume(stream: SpdyStream): void {
    if (!this.#full.delete(stream) || this.#full.size > 0) return;
    clearInterval(this.#probe);
    this.#socket.resume();
    void this.#read();
  }

  /** @internal */
  forget(stream: SpdyStream): void {
    this.#streams.delete(stream.id);
    this.resume(stream);
    if (this.#going && this.#streams.size === 0) this.end();
  }

  #control(type: number, body: Buffer): void {
    if (!this.#closed && !this.#socket.writableEnded) this.#socket.write(controlFrame(type, 0, body));
  }

  #release(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    const error = this.#closed ? new OcidError("UNAVAILABLE", "the connection is closed") : null;
    for (const done of waiting) done(error);
  }

  async #read(): Promise<void> {
    if (this.#reading) return;
    this.#reading = true;
    try {
      while (!this.#closed && this.#full.size === 0) {
        const frame = this.#frames.next();
        if (!frame) break;
        if (frame.kind === "control") await this.#onControl(frame.type, frame.flags, frame.body);
        else this.#onData(frame.streamId, frame.bytes, frame.fin);
      }
      if (this.#ended && this.#full.size === 0) this.#clientGone();
    } catch (error) {
      this.destroy(error as Error);
    } finally {
      this.#reading = false;
    }
  }

  /** What was received stays readable; there is nobody to write to. */
  #clientGone(): void {
    for (const stream of this.#streams.values()) stream.receiveEnd();
    setImmediate(() => this.destroy());
  }

  #onData(streamId: number, bytes: Buffer, fin: boolean): void {
    const stream = this.#streams.get(streamId);
    if (!stream) return;
    if (bytes.byteLength > 0 && !stream.receive(bytes)) {
      this.#full.add(stream);
      this.#pause();
    }
    if (fin) stream.receiveEnd();
  }

  /** The end of a connection that is not read is only seen by writing to it. */
  #pause(): void {
    this.#socket.pause();
    clearInterval(this.#probe);
    this.#probe = setInterval(
      () => this.#control(frameTypes.ping, words(ignoredPing)),
      this.#probeMs,
    ).unref();
  }

  async #onControl(type: number, flags: number, body: Buffer): Promise<void> {
    switch (type) {
      case frameTypes.synStream:
        return await this.#onSynStream(flags, body);
      case frameTypes.headers: {
        const streamId = wordOf(body, 0);
        await this.#headers.read(body.subarray(4));
        if (flags & flagFin) this.#streams.get(streamId)?.receiveEnd();
        return;
      }
      case frameTypes.resetStream:
        this.#streams.get(wordOf(body, 0))?.receiveReset();
        return;
      case frameTypes.ping:
        // Odd ones are the client's own, and are sent back as they are.
        if (wordOf(body, 0) & 1) this.#control(frameTypes.ping, body.subarray(0, 4));
        return;
      case frameTypes.goAway:
        this.#going = true;
        if (this.#streams.size === 0) this.end();
        return;
    }
  }

  async #onSynStream(flags: number, body: Buffer): Promise<void> {
    const id = wordOf(body, 0);
    if (body.byteLength < 10) throw new OcidError("INVALID_ARGUMENT", "SYN_STREAM ends early");
    const headers = await this.#headers.read(body.subarray(10));
    if (this.#closed) return;
    if (id % 2 === 0 || id <= this.#lastId) {
      this.destroy(new OcidError("INVALID_ARGUMENT", `stream ${id} after stream ${this.#lastId}`));
      return;
    }
    this.#lastId = id;
    if (this.#going || this.#streams.size >= maxStreams || !this.#accept(headers))
      return this.reset(id, resetStatus.refusedStream);
    const stream = new SpdyStream(this, id, headers);
    this.#streams.set(id, stream);
    // Clients drop data that comes before the reply.
    this.#control(
      frameTypes.synReply,
      Buffer.concat(this.#replied ? [words(id), emptyBlock] : [words(id), zlibHead, emptyBlock]),
    );
    this.#replied = true;
    this.emit("stream", stream);
    if (flags & flagFin) stream.receiveEnd();
  }
}

function wordOf(body: Buffer, at: number): number {
  if (body.byteLength < at + 4) throw new OcidError("INVALID_ARGUMENT", "control frame ends early");
  return body.readUInt32BE(at) & 0x7fffffff;
}
