import { OcidError } from "@ocid/base";
import {
  blockBytes,
  completeHeader,
  isZero,
  parsePax,
  type RawHeader,
  readRawHeader,
  type TarHeader,
} from "./tar-header.ts";

/** What a parser tells of an archive, in the order of the archive. */
export interface TarSink {
  /** Bytes that are no file's content: headers, extensions, padding, the end. Valid until the call returns. */
  raw(bytes: Uint8Array): void;
  entry(header: TarHeader): void;
  /** A piece of the current entry's content. Valid until the call returns. */
  content(bytes: Uint8Array): void;
  endEntry(): void;
}

type State = "header" | "extension" | "sparse" | "content" | "padding" | "end";

/** Of all extensions of one entry together: one after the other they would fill the memory. */
const maxExtensionBytes = 1024 * 1024;
const maxSparseBytes = 8 * 1024 * 1024;

/** Reads a tar stream from buffers as they come, without copying content. */
export class TarParser {
  readonly #sink: TarSink;
  #state: State = "header";
  /** Bytes of the current block, extension or padding that are still to come. */
  #missing = blockBytes;
  #collected: Buffer[] = [];
  #extension: RawHeader | undefined;
  #extensionBytes = 0;
  /** Of a sparse file whose parts go on in blocks of their own. */
  #header: RawHeader | undefined;
  #pax = new Map<string, Buffer>();
  #longName: Buffer | undefined;
  #longLink: Buffer | undefined;
  #entry: TarHeader | undefined;
  #left = 0;
  #padding = 0;
  #zeroBlocks = 0;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  write(chunk: Uint8Array): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    for (let at = 0; at < bytes.byteLength; ) {
      if (this.#state === "content") {
        const piece = bytes.subarray(at, at + this.#left);
        this.#sink.content(piece);
        this.#left -= piece.byteLength;
        at += piece.byteLength;
        if (this.#left === 0) this.#endContent();
      } else if (this.#state === "end") {
        this.#sink.raw(bytes.subarray(at));
        return;
      } else {
        const piece = bytes.subarray(at, at + this.#missing);
        this.#sink.raw(piece);
        at += piece.byteLength;
        this.#missing -= piece.byteLength;
        if (this.#missing > 0) this.#collected.push(Buffer.from(piece));
        else {
          const whole = this.#collected.length === 0 ? piece : Buffer.concat([...this.#collected, piece]);
          this.#collected = [];
          this.#block(whole);
        }
      }
    }
  }

  /** Says that nothing follows; DATA_LOSS when the archive ends within an entry. */
  finish(): void {
    const atBoundary =
      this.#state === "end" ||
      (this.#state === "header" &&
        this.#missing === blockBytes &&
        this.#pax.size === 0 &&
        !this.#longName &&
        !this.#longLink);
    // Some writers leave out the padding of the last entry.
    if (!atBoundary && this.#state !== "padding")
      throw new OcidError("DATA_LOSS", "archive is cut short: it ends within an entry");
  }

  #expect(state: State, bytes: number): void {
    this.#state = state;
    this.#missing = bytes;
  }

  #block(whole: Buffer): void {
    switch (this.#state) {
      case "header":
        return this.#readHeader(whole);
      case "extension":
        return this.#readExtension(whole);
      case "sparse":
        return this.#readOldSparse(whole);
      default:
        return this.#expect("header", blockBytes);
    }
  }

  #readHeader(block: Buffer): void {
    const raw = readRawHeader(block);
    if (!raw) {
      this.#zeroBlocks++;
      return this.#zeroBlocks === 2 ? this.#expect("end", 0) : this.#expect("header", blockBytes);
    }
    if (this.#zeroBlocks > 0)
      throw new OcidError("DATA_LOSS", "archive is damaged: a header after a block of zeros");
    if (raw.size < 0) throw new OcidError("INVALID_ARGUMENT", "archive has an entry with a negative size");
    if ("xgLK".includes(raw.typeflag)) {
      this.#extensionBytes += raw.size;
      if (this.#extensionBytes > maxExtensionBytes)
        throw new OcidError(
          "RESOURCE_EXHAUSTED",
          `archive has an entry with extended headers of ${this.#extensionBytes} bytes, more than ${maxExtensionBytes}`,
        );
      this.#extension = raw;
      if (raw.size === 0) return this.#expect("header", blockBytes);
      return this.#expect("extension", padded(raw.size));
    }
    if (raw.typeflag !== "S" || block[482] !== 1) return this.#startEntry(raw, []);
    this.#header = { ...raw, block: Buffer.from(block) };
    this.#expect("sparse", blockBytes);
  }

  #readExtension(whole: Buffer): void {
    const { typeflag, size } = this.#extension!;
    const content = whole.subarray(0, size);
    if (typeflag === "x") for (const [key, value] of parsePax(content)) this.#pax.set(key, value);
    else if (typeflag === "L" || typeflag === "K") {
      const end = content.indexOf(0);
      const text = Buffer.from(end === -1 ? content : content.subarray(0, end));
      if (typeflag === "L") this.#longName = text;
      else this.#longLink = text;
    }
    this.#expect("header", blockBytes);
  }

  #sparseBlocks: Buffer[] = [];

  #readOldSparse(block: Buffer): void {
    this.#sparseBlocks.push(Buffer.from(block));
    if (this.#sparseBlocks.length * blockBytes > maxSparseBytes)
      throw new OcidError("RESOURCE_EXHAUSTED", "archive has a sparse file with too many parts");
    if (block[504] === 1) return this.#expect("sparse", blockBytes);
    const blocks = this.#sparseBlocks;
    this.#sparseBlocks = [];
    this.#startEntry(this.#header!, blocks);
  }

  #startEntry(raw: RawHeader, sparseBlocks: readonly Buffer[]): void {
    let entry = completeHeader(raw, this.#pax, this.#longName, this.#longLink);
    if (raw.typeflag === "S")
      entry = {
        ...entry,
        sparse: { size: entry.sparse!.size, parts: oldSparseParts(raw.block, sparseBlocks) },
      };
    this.#pax.clear();
    this.#extensionBytes = 0;
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#entry = entry;
    this.#left = entry.size;
    this.#padding = padded(entry.size) - entry.size;
    this.#sink.entry(entry);
    if (this.#left > 0) this.#state = "content";
    else this.#endContent();
  }

  #endContent(): void {
    this.#sink.endEntry();
    this.#entry = undefined;
    if (this.#padding > 0) this.#expect("padding", this.#padding);
    else this.#expect("header", blockBytes);
  }
}

function padded(size: number): number {
  return Math.ceil(size / blockBytes) * blockBytes;
}

function oldSparseParts(header: Buffer, blocks: readonly Buffer[]): readonly (readonly [number, number])[] {
  const parts: (readonly [number, number])[] = [];
  const read = (block: Buffer, at: number, count: number) => {
    for (let part = 0; part < count; part++) {
      const offset = octalField(block, at + part * 24);
      const length = octalField(block, at + part * 24 + 12);
      if (isZero(block.subarray(at + part * 24, at + part * 24 + 24))) return;
      parts.push([offset, length]);
    }
  };
  read(header, 386, 4);
  for (const block of blocks) read(block, 0, 21);
  return parts;
}

function octalField(block: Buffer, at: number): number {
  return block[at]! & 0x80
    ? Number(block.readBigInt64BE(at + 4))
    : Number.parseInt(
        block
          .toString("latin1", at, at + 12)
          .replace(/\0.*$/, "")
          .trim() || "0",
        8,
      );
}
