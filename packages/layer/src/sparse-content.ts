import { OcidError } from "@ocid/base";
import { blockBytes, type TarHeader } from "./tar-header.ts";

/** A map costs some ten times its size in memory. */
const maxMapBytes = 1024 * 1024;

/** Puts the stored parts of a sparse file where they belong; what lies between them stays a hole. */
export class SparseContent {
  readonly #size: number;
  readonly #write: (bytes: Uint8Array, position: number) => void;
  #parts: readonly (readonly [number, number])[] | undefined;
  /** Numbers of the map, as far as it has come; a line that goes on; bytes read. */
  #map: number[] = [];
  #line = "";
  #mapBytes = 0;
  #part = 0;
  #within = 0;

  constructor(
    sparse: NonNullable<TarHeader["sparse"]>,
    write: (bytes: Uint8Array, position: number) => void,
  ) {
    this.#size = sparse.size;
    this.#write = write;
    if (sparse.parts) this.#parts = this.#check(sparse.parts);
  }

  add(bytes: Uint8Array): void {
    let rest = this.#parts ? bytes : this.#readMap(bytes);
    while (rest.byteLength > 0) {
      const part = this.#parts![this.#part];
      if (!part)
        throw new OcidError(
          "DATA_LOSS",
          "archive is damaged: a sparse file has more content than its map says",
        );
      const piece = rest.subarray(0, part[1] - this.#within);
      if (piece.byteLength > 0) this.#write(piece, part[0] + this.#within);
      this.#within += piece.byteLength;
      rest = rest.subarray(piece.byteLength);
      if (this.#within === part[1]) {
        this.#part++;
        this.#within = 0;
      }
    }
  }

  /** Says that no more comes; DATA_LOSS when the map promised more. */
  end(): void {
    const missing = this.#parts
      ? this.#parts.slice(this.#part).some(([, length], at) => length > (at === 0 ? this.#within : 0))
      : this.#mapBytes > 0;
    if (missing)
      throw new OcidError(
        "DATA_LOSS",
        "archive is damaged: a sparse file has less content than its map says",
      );
  }

  /** GNU's format 1.0: the map stands before the content, in decimal lines, filled up to whole blocks. What is left of the bytes. */
  #readMap(bytes: Uint8Array): Uint8Array {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const map = this.#map;
    let at = 0;
    while (map.length === 0 || map.length < 1 + 2 * map[0]!) {
      const end = text.indexOf(0x0a, at);
      this.#line += text.toString(
        "latin1",
        at,
        end === -1 ? Math.min(text.byteLength, at + 16) : Math.min(end, at + 16),
      );
      if (!/^\d{0,15}$/.test(this.#line) || (end !== -1 && this.#line === ""))
        throw new OcidError("DATA_LOSS", "archive is damaged: a sparse file's map cannot be read");
      if (end === -1) {
        this.#mapBytes += text.byteLength;
        return text.subarray(text.byteLength);
      }
      map.push(Number(this.#line));
      this.#line = "";
      at = end + 1;
      if (this.#mapBytes + at > maxMapBytes)
        throw new OcidError("RESOURCE_EXHAUSTED", "archive has a sparse file with too many parts");
    }
    const before = this.#mapBytes;
    const whole = Math.ceil((before + at) / blockBytes) * blockBytes;
    if (before + text.byteLength < whole) {
      this.#mapBytes += text.byteLength;
      return text.subarray(text.byteLength);
    }
    this.#parts = this.#check(
      Array.from({ length: map[0]! }, (_, part) => [map[1 + 2 * part]!, map[2 + 2 * part]!] as const),
    );
    this.#map = [];
    return text.subarray(whole - before);
  }

  #check(parts: readonly (readonly [number, number])[]): readonly (readonly [number, number])[] {
    let end = 0;
    for (const [offset, length] of parts) {
      if (
        !Number.isSafeInteger(offset) ||
        !Number.isSafeInteger(length) ||
        offset < end ||
        length < 0 ||
        offset + length > this.#size
      ) {
        throw new OcidError(
          "DATA_LOSS",
          "archive is damaged: a sparse file's parts overlap or lie outside of it",
        );
      }
      end = offset + length;
    }
    return parts;
  }
}
