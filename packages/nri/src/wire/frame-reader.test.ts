import fc from "fast-check";
import { expect, test } from "vitest";
import { FrameReader } from "./frame-reader.ts";
import { encodeTtrpcFrame, frameTypes, readTtrpcFrames, type TtrpcFrame } from "./ttrpc-frames.ts";

/** Cuts bytes into pieces of the given sizes. */
function cut(bytes: Uint8Array, sizes: readonly number[]): readonly Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const size of [...sizes, bytes.byteLength]) {
    pieces.push(bytes.subarray(at, at + size));
    at = Math.min(bytes.byteLength, at + size);
  }
  return pieces;
}

test("frames come out as they went in, however the stream is cut", () => {
  const frame = fc.record({
    stream: fc.nat(2 ** 31),
    type: fc.constantFrom(...Object.values(frameTypes)),
    message: fc.uint8Array({ maxLength: 300 }),
  });
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 8 }),
      fc.array(fc.nat(40), { maxLength: 60 }),
      (frames, sizes) => {
        const bytes = Buffer.concat(
          frames.flatMap(({ stream, type, message }) => encodeTtrpcFrame(stream, type, message)),
        );
        const seen: TtrpcFrame[] = [];
        const reader = readTtrpcFrames(found => seen.push(found));
        for (const piece of cut(bytes, sizes)) reader.push(piece);
        expect(
          seen.map(({ stream, type, message }) => ({ stream, type, message: new Uint8Array(message) })),
        ).toEqual(frames);
      },
    ),
  );
});

test("any bytes are frames or an error, and no more is kept than one frame", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), bytes => {
      const reader = new FrameReader(
        { headerBytes: 8, lengthAt: 4, maxPayloadBytes: 256 },
        (header, payload) => {
          expect(header.readUInt32BE(4)).toBe(payload.byteLength);
          expect(payload.byteLength).toBeLessThanOrEqual(256);
        },
      );
      try {
        reader.push(bytes);
      } catch (error) {
        expect(error).toMatchObject({ code: "RESOURCE_EXHAUSTED" });
      }
    }),
  );
});

test("a length beyond the limit is refused before its payload comes", () => {
  const reader = readTtrpcFrames(() => {
    throw new Error("there is no frame");
  });
  expect(() => reader.push(Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1, 0]))).toThrow(
    expect.objectContaining({ code: "RESOURCE_EXHAUSTED" }),
  );
});
