import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { spdyDictionary } from "./dictionary.ts";
import { controlFrame, dataFrameHead, flagFin, SpdyFrameReader } from "./frames.ts";
import { HeaderBlockReader, parseHeaders } from "./header-block.ts";

const frame = fc.oneof(
  fc.record({
    kind: fc.constant("control" as const),
    type: fc.integer({ min: 1, max: 9 }),
    body: fc.uint8Array({ maxLength: 40 }),
  }),
  fc.record({
    kind: fc.constant("data" as const),
    streamId: fc.integer({ min: 1, max: 0x7fffffff }),
    fin: fc.boolean(),
    body: fc.uint8Array({ maxLength: 40 }),
  }),
);

test("frames are the same however the bytes arrive", () => {
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 30 })),
      (frames, cuts) => {
        const wire = Buffer.concat(
          frames.map(item =>
            item.kind === "control"
              ? controlFrame(item.type, 0, item.body)
              : Buffer.concat([
                  dataFrameHead(item.streamId, item.fin ? flagFin : 0, item.body.length),
                  item.body,
                ]),
          ),
        );
        const reader = new SpdyFrameReader();
        const read: { kind: string; key: number; bytes: number[]; fin: boolean; open: boolean }[] = [];
        const drain = () => {
          for (let next = reader.next(); next; next = reader.next()) {
            if (next.kind === "control") {
              read.push({ kind: "control", key: next.type, bytes: [...next.body], fin: false, open: false });
              continue;
            }
            const last = read.at(-1);
            const length = frames[read.length - (last?.open ? 1 : 0)]!.body.length;
            if (last?.open) last.bytes.push(...next.bytes);
            else
              read.push({ kind: "data", key: next.streamId, bytes: [...next.bytes], fin: false, open: true });
            const item = read.at(-1)!;
            item.open = item.bytes.length < length;
            item.fin ||= next.fin;
          }
        };
        let at = 0;
        for (const cut of cuts) {
          reader.push(wire.subarray(at, at + cut));
          at += cut;
          drain();
        }
        reader.push(wire.subarray(at));
        drain();
        expect(read.map(({ open: _, ...item }) => item)).toEqual(
          frames.map(item => ({
            kind: item.kind,
            key: item.kind === "control" ? item.type : item.streamId,
            bytes: [...item.body],
            fin: item.kind === "data" && item.fin,
          })),
        );
      },
    ),
  );
});

test("whatever arrives is frames or an error that says what is wrong", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      const reader = new SpdyFrameReader();
      reader.push(Buffer.from(bytes));
      try {
        for (let left = 200; left > 0 && reader.next(); left--);
      } catch (error) {
        expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
      }
    }),
    { numRuns: 2000 },
  );
});

test("other versions and huge control frames are refused at once", () => {
  const reader = new SpdyFrameReader();
  reader.push(Buffer.from([0x80, 2, 0, 1, 0, 0, 0, 0]));
  expect(() => reader.next()).toThrow(/version 2/);
  const huge = new SpdyFrameReader();
  huge.push(Buffer.from([0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff]));
  expect(() => huge.next()).toThrow(/16777215 bytes/);
});

test("the dictionary is the one of the specification", () => {
  // Every client's compressed headers begin with this checksum of it (RFC 1950, section 2.2).
  expect(deflateSync(Buffer.alloc(0), { dictionary: spdyDictionary }).subarray(2, 6).toString("hex")).toBe(
    "e3c6a7c2",
  );
});

test("header blocks of a hundred bytes that inflate to megabytes are refused", async () => {
  const reader = new HeaderBlockReader();
  const bomb = deflateSync(Buffer.alloc(8 * 1024 * 1024), { dictionary: spdyDictionary });
  await expect(reader.read(bomb)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});

test("header blocks that are cut off are refused", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), bytes => {
      try {
        parseHeaders(Buffer.from(bytes));
      } catch (error) {
        expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
      }
    }),
    { numRuns: 2000 },
  );
});
