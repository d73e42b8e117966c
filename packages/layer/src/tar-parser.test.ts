import { expect, test } from "vitest";
import { parsePax } from "./tar-header.ts";
import { TarParser } from "./tar-parser.ts";

const sink = { raw() {}, entry() {}, content() {}, endEntry() {} };

/** A block of an extended header, or of another type, for this many bytes. */
function extension(size: number | bigint, type = "x"): Buffer {
  const block = Buffer.alloc(512);
  block.write("pax", 0);
  if (typeof size === "number") block.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  else {
    // GNU's base 256, in two's complement.
    block.fill(size < 0n ? 0xff : 0, 124, 136);
    block.writeBigInt64BE(size, 128);
    block[124]! |= 0x80;
  }
  block.write(`        ${type}`, 148);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

function record(text: string): string {
  const bytes = text.length + 2;
  const digits = String(bytes + String(bytes).length).length;
  return `${bytes + digits} ${text}\n`;
}

test("extended headers without an entry between them do not add up", () => {
  const parser = new TarParser(sink);
  const piece = (at: number) => Buffer.from(record(`comment.${at}=${"x".repeat(500_000)}`));
  const add = (at: number) => {
    const content = piece(at);
    parser.write(extension(content.byteLength));
    parser.write(Buffer.concat([content, Buffer.alloc(512 - (content.byteLength % 512))]));
  };
  add(0);
  add(1);
  expect(() => add(2)).toThrow(/extended headers of 15000\d\d bytes/);
});

test("a sparse file's map in pairs of records is put together", () => {
  const parts = 20_000;
  const text = Array.from({ length: parts }, (_, at) =>
    record(`GNU.sparse.offset=${at}`).concat(record("GNU.sparse.numbytes=1")),
  ).join("");
  const map = parsePax(Buffer.from(text)).get("GNU.sparse.map")!.toString("latin1");
  expect(map.split(",").length).toBe(2 * parts);
  expect(map.startsWith("0,1,1,1,2,1")).toBe(true);
});

test.each([
  ["negative", -1n, "0", /negative size/],
  ["negative, of an extended header", -1n, "x", /negative size/],
  ["negative, as far as may be", -(2n ** 63n), "0", /out of range/],
  ["larger than numbers are exact", 2n ** 60n, "0", /out of range/],
  ["an extended header of a gigabyte", 2n ** 30n, "x", /extended headers of 1073741824 bytes/],
  ["a long name of a gigabyte", 2n ** 30n, "L", /extended headers of 1073741824 bytes/],
])("a size that is %s is refused", (_, size, type, message) => {
  expect(() => new TarParser(sink).write(extension(size, type))).toThrow(message);
});

test.each(["-5", "99999999999999999999", "1e3", ""])(
  "a size of %j in an extended header is refused",
  size => {
    const parser = new TarParser(sink);
    const content = Buffer.from(record(`size=${size}`));
    parser.write(extension(content.byteLength));
    parser.write(Buffer.concat([content, Buffer.alloc(512 - content.byteLength)]));
    expect(() => parser.write(extension(0, "0"))).toThrow(/negative size|out of range/);
  },
);

test("a file of petabytes takes no memory, and is cut short", () => {
  const parser = new TarParser(sink);
  parser.write(extension(2n ** 52n, "0"));
  expect(() => parser.finish()).toThrow(/cut short/);
});
