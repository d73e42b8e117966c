import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { SyncZlib } from "./sync-zlib.ts";

const flushBytes = 512 * 1024;

/**
 * Writes what a layer's tar has beside its files, so that it can be rebuilt bit for bit (vbatts/tar-split, as
 * containers/storage keeps it): gzip of one JSON object a line.
 */
export class TarSplitWriter {
  readonly #fd: number;
  readonly #zlib: SyncZlib;
  #position = 0;
  #segment: Buffer[] = [];
  #segmentBytes = 0;
  #lines = "";

  constructor(path: string) {
    this.#fd = openSync(path, "wx", 0o600);
    const output = Buffer.allocUnsafe(64 * 1024);
    this.#zlib = new SyncZlib("gzip", () => output);
  }

  /** Bytes of the archive that are no file's content. */
  raw(bytes: Uint8Array): void {
    this.#segment.push(Buffer.from(bytes));
    this.#segmentBytes += bytes.byteLength;
    if (this.#segmentBytes >= flushBytes) this.#endSegment();
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
    this.#zlib.finish(piece => this.#write(piece));
    if (options.sync) fsyncSync(this.#fd);
  }

  close(): void {
    this.#zlib.close();
    closeSync(this.#fd);
  }

  #endSegment(): void {
    if (this.#segmentBytes === 0) return;
    const bytes =
      this.#segment.length === 1 ? this.#segment[0]! : Buffer.concat(this.#segment, this.#segmentBytes);
    this.#line(`{"type":2,"payload":"${bytes.toString("base64")}","position":${this.#position++}}\n`);
    this.#segment = [];
    this.#segmentBytes = 0;
  }

  #line(text: string): void {
    this.#lines += text;
    if (this.#lines.length >= flushBytes) this.#flush();
  }

  #flush(): void {
    if (this.#lines === "") return;
    this.#zlib.write(Buffer.from(this.#lines), piece => this.#write(piece));
    this.#lines = "";
  }

  #write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength; ) at += writeSync(this.#fd, bytes, at);
  }
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
