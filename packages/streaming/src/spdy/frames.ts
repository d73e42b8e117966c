import { OcidError } from "@ocid/base";

export const frameTypes = {
  synStream: 1,
  synReply: 2,
  resetStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  headers: 8,
  windowUpdate: 9,
} as const;

export const resetStatus = { protocolError: 1, invalidStream: 2, refusedStream: 3, cancel: 5 } as const;

/** FLAG_FIN: the sender's half of the stream ends with this frame. */
export const flagFin = 1;

const version = 3;
/** No honest client's header block comes near it. */
const maxControlBytes = 64 * 1024;

export type SpdyFrame =
  | { readonly kind: "control"; readonly type: number; readonly flags: number; readonly body: Buffer }
  /** A data frame comes in as many pieces as it arrives in; `fin` is on the last one only. */
  | { readonly kind: "data"; readonly streamId: number; readonly bytes: Buffer; readonly fin: boolean };

/** Cuts what comes from a connection into frames (SPDY/3.1 draft, section 2.2), holding back at most one control frame. */
export class SpdyFrameReader {
  #held: Buffer = Buffer.alloc(0);
  #data: { readonly streamId: number; left: number; readonly fin: boolean } | undefined;

  push(bytes: Buffer): void {
    this.#held = this.#held.byteLength === 0 ? bytes : Buffer.concat([this.#held, bytes]);
  }

  /** The next frame; undefined until more bytes come. INVALID_ARGUMENT for what is no SPDY/3.1. */
  next(): SpdyFrame | undefined {
    if (this.#data) return this.#piece(this.#data);
    if (this.#held.byteLength < 8) return undefined;
    const first = this.#held.readUInt32BE(0);
    const second = this.#held.readUInt32BE(4);
    const [flags, length] = [second >>> 24, second & 0xffffff];
    if (first >>> 31 === 0) {
      this.#held = this.#held.subarray(8);
      this.#data = { streamId: first, left: length, fin: (flags & flagFin) !== 0 };
      return this.#piece(this.#data);
    }
    const spoken = (first >>> 16) & 0x7fff;
    if (spoken !== version)
      throw new OcidError("INVALID_ARGUMENT", `frame of SPDY version ${spoken}; version 3 is spoken here`);
    if (length > maxControlBytes)
      throw new OcidError(
        "INVALID_ARGUMENT",
        `control frame of ${length} bytes; more than ${maxControlBytes} are refused`,
      );
    if (this.#held.byteLength < 8 + length) return undefined;
    const body = this.#held.subarray(8, 8 + length);
    this.#held = this.#held.subarray(8 + length);
    return { kind: "control", type: first & 0xffff, flags, body };
  }

  #piece(data: NonNullable<SpdyFrameReaderData>): SpdyFrame | undefined {
    if (data.left > 0 && this.#held.byteLength === 0) return undefined;
    const bytes = this.#held.subarray(0, data.left);
    this.#held = this.#held.subarray(bytes.byteLength);
    data.left -= bytes.byteLength;
    if (data.left === 0) this.#data = undefined;
    return { kind: "data", streamId: data.streamId, bytes, fin: data.left === 0 && data.fin };
  }
}

type SpdyFrameReaderData = { readonly streamId: number; left: number; readonly fin: boolean } | undefined;

export function controlFrame(type: number, flags: number, body: Uint8Array): Buffer {
  const head = Buffer.allocUnsafe(8);
  head.writeUInt16BE(0x8000 | version, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt32BE(((flags << 24) | body.byteLength) >>> 0, 4);
  return Buffer.concat([head, body]);
}

export function dataFrameHead(streamId: number, flags: number, length: number): Buffer {
  const head = Buffer.allocUnsafe(8);
  head.writeUInt32BE(streamId, 0);
  head.writeUInt32BE(((flags << 24) | length) >>> 0, 4);
  return head;
}

export function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(values.length * 4);
  for (const [at, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, at * 4);
  return bytes;
}
