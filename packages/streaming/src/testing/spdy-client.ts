import { request } from "node:http";
import { PassThrough, type Readable } from "node:stream";
import { constants, createDeflate, type Deflate } from "node:zlib";
import { OcidError } from "@ocid/base";
import { spdyDictionary } from "../spdy/dictionary.ts";
import { controlFrame, dataFrameHead, flagFin, frameTypes, SpdyFrameReader, words } from "../spdy/frames.ts";

export interface SpdyClientStream {
  /** What the server sends on the stream; it ends with the server's half. */
  readonly output: Readable;
  write(bytes: Uint8Array | string): void;
  end(): void;
}

export interface SpdyClient {
  readonly protocol: string | undefined;
  open(headers: Readonly<Record<string, string>>): Promise<SpdyClientStream>;
  /** Resolves when the server has closed the connection. */
  readonly closed: Promise<void>;
  /** Cuts the connection, as a client that dies does. */
  destroy(): void;
}

/** A client of SPDY/3.1 for tests: it opens streams as kubectl does. UNAVAILABLE with the server's words when it refuses. */
export async function connectSpdy(url: string, protocols: readonly string[]): Promise<SpdyClient> {
  const { socket, head, protocol } = await upgrade(url, protocols);
  const streams = new Map<number, PassThrough>();
  const frames = new SpdyFrameReader();
  const compress = headerCompressor();
  let lastId = -1;
  const read = (bytes: Buffer) => {
    frames.push(bytes);
    for (let frame = frames.next(); frame; frame = frames.next()) {
      if (frame.kind === "data") {
        const stream = streams.get(frame.streamId);
        if (stream && frame.bytes.byteLength > 0 && !stream.write(frame.bytes)) {
          socket.pause();
          stream.once("drain", () => socket.resume());
        }
        if (frame.fin) stream?.end();
      } else if (frame.type === frameTypes.resetStream) streams.get(frame.body.readUInt32BE(0))?.end();
    }
  };
  socket.on("data", read);
  socket.on("error", () => {});
  const closed = new Promise<void>(resolve =>
    socket.once("close", () => {
      for (const stream of streams.values()) stream.end();
      resolve();
    }),
  );
  socket.once("end", () => socket.end());
  if (head.byteLength > 0) read(head);
  return {
    protocol,
    closed,
    destroy: () => socket.destroy(),
    async open(headers) {
      lastId += 2;
      const id = lastId;
      const output = new PassThrough();
      streams.set(id, output);
      const block = await compress(headers);
      socket.write(
        controlFrame(frameTypes.synStream, 0, Buffer.concat([words(id, 0), Buffer.alloc(2), block])),
      );
      return {
        output,
        write(bytes) {
          const data = Buffer.from(bytes);
          for (let at = 0; at < data.byteLength; at += 65_536) {
            const piece = data.subarray(at, at + 65_536);
            socket.write(Buffer.concat([dataFrameHead(id, 0, piece.byteLength), piece]));
          }
        },
        end: () => socket.write(dataFrameHead(id, flagFin, 0)),
      };
    },
  };
}

function upgrade(url: string, protocols: readonly string[]) {
  return new Promise<{
    socket: import("node:net").Socket;
    head: Buffer;
    protocol: string | undefined;
  }>((resolve, reject) => {
    const call = request(url, {
      method: "POST",
      headers: {
        connection: "Upgrade",
        upgrade: "SPDY/3.1",
        "x-stream-protocol-version": [...protocols],
      },
    });
    call.once("upgrade", (response, socket, head) =>
      resolve({
        socket,
        head,
        protocol: response.headers["x-stream-protocol-version"] as string | undefined,
      }),
    );
    call.once("response", response => {
      let text = "";
      response.on("data", chunk => {
        text += chunk;
      });
      response.once("end", () =>
        reject(new OcidError("UNAVAILABLE", `${response.statusCode}: ${text.trim()}`)),
      );
    });
    call.once("error", reject);
    call.end();
  });
}

function headerCompressor(): (headers: Readonly<Record<string, string>>) => Promise<Buffer> {
  const deflate: Deflate = createDeflate({ dictionary: spdyDictionary, flush: constants.Z_SYNC_FLUSH });
  const chunks: Buffer[] = [];
  deflate.on("data", chunk => chunks.push(chunk));
  return async headers => {
    const entries = Object.entries(headers);
    const block = Buffer.concat([
      words(entries.length),
      ...entries.flat().flatMap(text => [words(text.length), Buffer.from(text)]),
    ]);
    chunks.length = 0;
    deflate.write(block);
    await new Promise<void>(resolve => deflate.flush(constants.Z_SYNC_FLUSH, () => resolve()));
    return Buffer.concat(chunks);
  };
}
