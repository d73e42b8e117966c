import { FrameReader } from "./frame-reader.ts";

// ttrpc's frames: length of the message (4 bytes), stream (4 bytes), type (1 byte), flags (1 byte), the message.

export const messageHeaderBytes = 10;
/** What every implementation of ttrpc takes at most. */
export const maxMessageBytes: number = 4 * 1024 * 1024;

export const frameTypes: { readonly request: 1; readonly response: 2 } = { request: 1, response: 2 };

export interface TtrpcFrame {
  readonly stream: number;
  readonly type: number;
  readonly flags: number;
  readonly message: Buffer;
}

/** Header and message in two pieces: implementations read the header into a small buffer, which must hold all of its piece. */
export function encodeTtrpcFrame(stream: number, type: number, message: Uint8Array): readonly Uint8Array[] {
  const header = Buffer.alloc(messageHeaderBytes);
  header.writeUInt32BE(message.byteLength, 0);
  header.writeUInt32BE(stream, 4);
  header.writeUInt8(type, 8);
  return message.byteLength === 0 ? [header] : [header, message];
}

export function readTtrpcFrames(onFrame: (frame: TtrpcFrame) => void): FrameReader {
  const shape = { headerBytes: messageHeaderBytes, lengthAt: 0, maxPayloadBytes: maxMessageBytes };
  return new FrameReader(shape, (header, message) =>
    onFrame({
      stream: header.readUInt32BE(4),
      type: header.readUInt8(8),
      flags: header.readUInt8(9),
      message,
    }),
  );
}
