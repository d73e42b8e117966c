import { expect, test } from "vitest";
import { Crc64, contentAt, sumMemory } from "./crc64.ts";

/** Bit by bit, as the polynomial says. */
function slowly(bytes: Uint8Array): string {
  let crc = 0xffff_ffff_ffff_ffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0xd800_0000_0000_0000n : crc >> 1n;
  }
  return (crc ^ 0xffff_ffff_ffff_ffffn).toString(16).padStart(16, "0");
}

test.each([{ vectors: true }, { vectors: false }])("is the sum of Go's hash/crc64, with %o", options => {
  const crc = new Crc64(undefined, options);
  crc.buffer.set(Buffer.from("123456789"));
  crc.update(crc.buffer.subarray(0, 9));
  // The check value of CRC-64/GO-ISO in the catalogue of parametrised CRC algorithms.
  expect(crc.digest().toString("hex")).toBe("b90956c775a41001");
});

test.each([{ vectors: true }, { vectors: false }])(
  "of any length, from any place, in any pieces, with %o",
  options => {
    const memory = sumMemory(262_144);
    const crc = new Crc64(memory, options);
    let seed = 7;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % below;
    };
    for (let at = 0; at < 4096; at++) crc.buffer[at] = random(256);
    for (let round = 0; round < 400; round++) {
      const from = random(40);
      const bytes = crc.buffer.subarray(from, from + (round < 150 ? round : random(2000)));
      crc.reset();
      for (let at = 0; at < bytes.byteLength; ) {
        const piece = bytes.subarray(at, at + 1 + random(bytes.byteLength));
        crc.update(piece);
        at += piece.byteLength;
      }
      expect(crc.digest().toString("hex"), `${bytes.byteLength} bytes from ${from}`).toBe(slowly(bytes));
    }
    expect(crc.buffer.byteOffset).toBe(contentAt);
  },
);
