import { expect, test } from "vitest";
import { parsePax } from "./tar-header.ts";
import { TarParser } from "./tar-parser.ts";

const sink = { raw() {}, entry() {}, content() {}, endEntry() {} };

/** A block of an extended header for this many bytes. */
function extension(size: number): Buffer {
  const block = Buffer.alloc(512);
  block.write("pax", 0);
  block.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  block.write("        x", 148);
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
