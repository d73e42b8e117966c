import { EventEmitter } from "node:events";
import fc from "fast-check";
import { ResponseReader } from "../../../packages/layer/src/http-response.ts";
import { readTar } from "../../../packages/layer/src/read-tar.ts";
import { parseRecord } from "../../../packages/layer/src/rebuild-tar.ts";
import { parsePax } from "../../../packages/layer/src/tar-header.ts";
import { encodeTtrpcFrame, readTtrpcFrames } from "../../../packages/nri/src/wire/ttrpc-frames.ts";
import { controlFrame, dataFrameHead, SpdyFrameReader } from "../../../packages/streaming/src/spdy/frames.ts";
import { parseHeaders } from "../../../packages/streaming/src/spdy/header-block.ts";
import { WebSocketChannels } from "../../../packages/streaming/src/websocket-channels.ts";
import { inPieces, mutatedBytes, mutatedText } from "./inputs.ts";
import { escapes, type Parser, parser } from "./parser.ts";

const maxBytes = 1024 * 1024;

const pax =
  "30 mtime=1350244992.023960108\n19 path=dir/../file\n31 SCHILY.xattr.user.x=abcdefgh\n" +
  "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n27 GNU.sparse.realsize=100\n";

/** A header whose checksum is right, whatever its fields say. */
const entry = fc
  .record({
    name: fc.constantFrom("a", "../a", "/a", "a/../../b", "a/.wh..wh..opq", "././@LongLink", "\xff\xfe"),
    link: fc.constantFrom("", "../x", "/etc/passwd", "a"),
    type: fc.constantFrom(..."0123456xgLKSZ\0"),
    size: fc.constantFrom("0", "5", "1000", "77777777777", "\x80\0\0\0\0\0\0\0\0\0\x02\0", "-1", "x"),
    number: fc.constantFrom("0", "644", "7777777", "\xff\xff\xff\xff\xff\xff\xff\xff"),
    content: fc.oneof(
      fc.constant(Buffer.from(pax)),
      fc.constant(Buffer.from("2\n0\n5\n10\n5\n")),
      mutatedBytes([pax]),
    ),
    repeated: fc.nat(20),
  })
  .map(({ name, link, type, size, number, content, repeated }) => {
    const block = Buffer.alloc(512);
    block.write(name, 0, "latin1");
    for (const at of [100, 108, 116]) block.write(number.slice(0, 8), at, "latin1");
    block.write((size === "5" ? content.byteLength.toString(8) : size).slice(0, 12), 124, "latin1");
    block.write(type, 156, "latin1");
    block.write(link, 157, "latin1");
    block.write("ustar\x0000", 257, "latin1");
    block.fill(Buffer.from("00000000001\x0000000000005\0"), 386, 386 + 24 * (repeated % 5));
    if (repeated > 15) block[482] = 1;
    block.write("        ", 148);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    return Buffer.concat([block, content, Buffer.alloc((512 - (content.byteLength % 512)) % 512)]);
  });

const archive = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.array(entry, { maxLength: 6 }).map(parts => Buffer.concat([...parts, Buffer.alloc(1024)])),
  },
  {
    weight: 1,
    arbitrary: fc
      .array(entry, { minLength: 1, maxLength: 3 })
      .chain(parts => mutatedBytes([Buffer.concat(parts)])),
  },
);

/** Parsers of bytes that come by in pieces. */
export const streamParsers: readonly Parser[] = [
  parser({
    name: "tar",
    input: inPieces(archive),
    async parse(pieces) {
      let bytes = 0;
      const source = (async function* () {
        yield* pieces;
      })();
      for await (const piece of readTar(source, { wants: () => true, maxBytes })) {
        if (piece.kind === "content") bytes += piece.bytes.byteLength;
        if (piece.kind === "entry" && /(^|\/)\.\.(\/|$)|^\//.test(piece.entry.path))
          escapes("path", piece.entry.path);
        if (bytes > 2 * maxBytes) escapes("content", bytes);
      }
    },
  }),
  parser({ name: "pax", input: mutatedBytes([pax]), parse: bytes => parsePax(bytes) }),
  parser({
    name: "tar-split",
    input: mutatedText([
      '{"type":2,"payload":"AAAA","position":0}',
      '{"type":1,"name":"a","size":5,"payload":"AAAAAAAAAAA=","position":1}',
      '{"type":1,"name_raw":"/w==","size":0}',
    ]),
    parse: line => parseRecord(line, "layer.tar-split.gz"),
  }),
  parser({
    name: "spdy-frames",
    input: inPieces(
      mutatedBytes([
        Buffer.concat([
          controlFrame(1, 0, Buffer.alloc(12)),
          dataFrameHead(1, 1, 3),
          Buffer.from("abc"),
          controlFrame(6, 0, Buffer.alloc(4)),
        ]),
      ]),
    ),
    parse(pieces) {
      const reader = new SpdyFrameReader();
      for (const piece of pieces) {
        reader.push(piece);
        for (let left = 1000; reader.next(); left--) if (left === 0) escapes("frames", "without end");
      }
    },
  }),
  parser({
    name: "spdy-headers",
    input: mutatedBytes([Buffer.from("\0\0\0\x01\0\0\0\x0astreamtype\0\0\0\x05stdin", "latin1")]),
    parse: bytes => parseHeaders(bytes),
  }),
  parser({
    name: "websocket-channels",
    input: fc.tuple(
      fc.constantFrom("v5.channel.k8s.io", "base64.channel.k8s.io", ""),
      fc.array(mutatedBytes(["\0stdin", '\x04{"Width":80,"Height":24}', "0YWJj", "\xff\0"]), {
        maxLength: 4,
      }),
    ),
    parse([protocol, messages]) {
      const socket = Object.assign(new EventEmitter(), { protocol });
      const channels = new WebSocketChannels(
        socket as unknown as ConstructorParameters<typeof WebSocketChannels>[0],
      );
      let bytes = 0;
      channels.onMessage((_, content) => (bytes += content.byteLength));
      for (const message of messages) socket.emit("message", message);
      if (bytes > messages.reduce((sum, message) => sum + message.byteLength, 0)) escapes("content", bytes);
    },
  }),
  parser({
    name: "ttrpc-frames",
    input: inPieces(
      mutatedBytes([
        Buffer.concat([
          ...encodeTtrpcFrame(1, 1, Buffer.from("hello")),
          ...encodeTtrpcFrame(3, 2, Buffer.alloc(0)),
        ]),
      ]),
    ),
    parse(pieces) {
      const reader = readTtrpcFrames(() => {});
      for (const piece of pieces) reader.push(piece);
    },
  }),
  parser({
    name: "http-response",
    input: inPieces(
      mutatedBytes([
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
        "HTTP/1.1 206 Partial\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 0-4/5\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: x\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nhello",
      ]),
    ),
    parse(pieces) {
      let bytes = 0;
      const reader = new ResponseReader(
        () => {},
        body => (bytes += body.byteLength),
      );
      for (const piece of pieces) {
        if (reader.done) return;
        reader.write(piece);
      }
      if (bytes > pieces.reduce((sum, piece) => sum + piece.byteLength, 0)) escapes("body", bytes);
    },
  }),
];
