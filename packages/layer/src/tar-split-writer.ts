import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { SyncZlib } from "./sync-zlib.ts";

const segmentBytes = 64 * 1024;
const linesBytes = 512 * 1024;
const outputBytes = 64 * 1024;

interface Buffers {
  readonly segment: Buffer;
  readonly lines: Buffer;
  readonly output: Uint8Array;
}

/** Of writers that are done: a heap that is small would see many megabytes of such buffers before it is collected. */
const spare: Buffers[] = [];

/**
 * Writes what a layer's tar has beside its files, so that it can be rebuilt bit for bit (vbatts/tar-split, as
 * containers/storage keeps it): gzip of one JSON object a line.
 */
export class TarSplitWriter {
  readonly #fd: number;
  readonly #zlib: SyncZlib;
  #position = 0;
  readonly #buffers: Buffers;
  // Written in place: an object or two for each entry would be most of what a layer of small files costs here.
  readonly #segment: Buffer;
  #segmentEnd = 0;
  readonly #lines: Buffer;
  #linesEnd = 0;

  constructor(path: string) {
    this.#fd = openSync(path, "wx", 0o600);
    this.#buffers = spare.pop() ?? {
      segment: Buffer.allocUnsafeSlow(segmentBytes),
      lines: Buffer.allocUnsafeSlow(linesBytes),
      output: Buffer.allocUnsafeSlow(outputBytes),
    };
    const { segment, lines, output } = this.#buffers;
    this.#segment = segment;
    this.#lines = lines;
    this.#zlib = new SyncZlib("gzip", () => output);
  }

  /** Bytes of the archive that are no file's content. */
  raw(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength; ) {
      if (this.#segmentEnd === segmentBytes) this.#endSegment();
      const room = segmentBytes - this.#segmentEnd;
      const piece = at === 0 && bytes.byteLength <= room ? bytes : bytes.subarray(at, at + room);
      this.#segment.set(piece, this.#segmentEnd);
      this.#segmentEnd += piece.byteLength;
      at += piece.byteLength;
    }
  }

  /** A file whose content comes next in the archive; without content there is no checksum. */
  file(name: string | Buffer, size: number, checksum: Buffer | undefined): void {
    this.#endSegment();
    const label =
      typeof name === "string" ? `"name":${quote(name)}` : `"name_raw":"${name.toString("base64")}"`;
    const payload = checksum === undefined ? "null" : `"${checksum.toString("base64")}"`;
    this.#line(
      `{"type":1,${label}${size > 0 ? `,"size":${size}` : ""},"payload":${payload},"position":${this.#position++}}\n`,
    );
  }

  /** Completes the file; it is synced when its file system is. */
  finish(options: { readonly sync: boolean }): void {
    this.#endSegment();
    this.#flush();
    this.#zlib.finish(this.#write);
    if (options.sync) fsyncSync(this.#fd);
  }

  close(): void {
    this.#zlib.close();
    closeSync(this.#fd);
    spare.push(this.#buffers);
  }

  #endSegment(): void {
    if (this.#segmentEnd === 0) return;
    const payload = this.#segment.toString("base64", 0, this.#segmentEnd);
    this.#line(`{"type":2,"payload":"${payload}","position":${this.#position++}}\n`);
    this.#segmentEnd = 0;
  }

  #line(text: string): void {
    // UTF-8 has at most three bytes for one unit of a string.
    const most = text.length * 3;
    if (this.#linesEnd + most > linesBytes) this.#flush();
    if (most > linesBytes) this.#zlib.write(Buffer.from(text), this.#write);
    else this.#linesEnd += this.#lines.write(text, this.#linesEnd);
  }

  #flush(): void {
    if (this.#linesEnd > 0) this.#zlib.write(this.#lines.subarray(0, this.#linesEnd), this.#write);
    this.#linesEnd = 0;
  }

  readonly #write = (bytes: Uint8Array): void => {
    for (let at = 0; at < bytes.byteLength; ) at += writeSync(this.#fd, bytes, at);
  };
}

const plain = /^[\x20\x21\x23-\x25\x27-\x3b\x3d\x3f-\x5b\x5d-\x7e]*$/;

function quote(name: string): string {
  return plain.test(name)
    ? `"${name}"`
    : JSON.stringify(name).replace(
        /[<>&\u2028\u2029]/g,
        char => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
      );
}
