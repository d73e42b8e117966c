import { OcidError } from "@ocid/base";
import { blockBytes, type TarHeader } from "./tar-header.ts";

const maxMapBytes = 8 * 1024 * 1024;

/** Puts the stored parts of a sparse file where they belong; what lies between them stays a hole. */
export class SparseContent {
  readonly #size: number;
  readonly #write: (bytes: Uint8Array, position: number) => void;
  #parts: readonly (readonly [number, number])[] | undefined;
  #map: Buffer = Buffer.alloc(0);
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
    let rest = bytes;
    if (!this.#parts) {
      // GNU's format 1.0: the map stands before the content, in decimal lines, filled up to whole blocks.
      this.#map = Buffer.concat([this.#map, rest]);
      if (this.#map.byteLength > maxMapBytes)
        throw new OcidError("RESOURCE_EXHAUSTED", "archive has a sparse file with too many parts");
      const used = this.#readMap();
      if (used === undefined) return;
      rest = this.#map.subarray(used);
      this.#map = Buffer.alloc(0);
    }
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

  #readMap(): number | undefined {
    const lines: number[] = [];
    let at = 0;
    for (;;) {
      const end = this.#map.indexOf(0x0a, at);
      if (end === -1) return undefined;
      const text = this.#map.toString("latin1", at, end);
      if (!/^\d{1,15}$/.test(text))
        throw new OcidError("DATA_LOSS", "archive is damaged: a sparse file's map cannot be read");
      lines.push(Number(text));
      at = end + 1;
      if (lines.length === 1 + 2 * lines[0]!) break;
    }
    const whole = Math.ceil(at / blockBytes) * blockBytes;
    if (this.#map.byteLength < whole) return undefined;
    this.#parts = this.#check(
      Array.from({ length: lines[0]! }, (_, part) => [lines[1 + 2 * part]!, lines[2 + 2 * part]!] as const),
    );
    return whole;
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
