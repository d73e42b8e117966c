import { OcidError } from "@ocid/base";
import { entryPath } from "./entry-path.ts";
import { SparseContent } from "./sparse-content.ts";
import type { TarHeader } from "./tar-header.ts";
import { TarParser } from "./tar-parser.ts";

/** A tar entry as it comes by, and pieces of its content where they are wanted. */
export type TarPiece =
  | { readonly kind: "entry"; readonly entry: ReadTarEntry }
  | { readonly kind: "content"; readonly bytes: Uint8Array }
  | { readonly kind: "end" };

export interface ReadTarEntry extends Omit<TarHeader, "sparse"> {
  /** Relative to the root, without `.` and `..`; "" is the root. Names that are not UTF-8 begin with U+DFFF, one character for each byte after it. */
  readonly path: string;
  /** Place in the archive, from 0. */
  readonly at: number;
  /** Bytes of the file's content, holes included. */
  readonly size: number;
}

export interface ReadTarOptions {
  /** Whose content is wanted. Default: nobody's. */
  readonly wants?: (entry: ReadTarEntry) => boolean;
  /** Most bytes of the archive, holes of wanted files included. Default 128 GiB. */
  readonly maxBytes?: number;
  /** Most entries. Default 5,000,000. */
  readonly maxEntries?: number;
}

const zeros = Buffer.alloc(64 * 1024);

/**
 * Reads an uncompressed tar as it comes and writes nothing: after each entry the pieces of its content, if it is wanted,
 * and an end. Holes of sparse files come as zeros. A piece may share memory with what the source gave.
 */
export async function* readTar(
  tar: AsyncIterable<Uint8Array>,
  { wants = () => false, maxBytes = 128 * 1024 ** 3, maxEntries = 5_000_000 }: ReadTarOptions = {},
): AsyncGenerator<TarPiece, void, undefined> {
  let pieces: TarPiece[] = [];
  let file: ContentReader | undefined;
  let entries = 0;
  const parser = new TarParser({
    raw() {},
    entry(header) {
      const { sparse, ...rest } = header;
      const entry = {
        ...rest,
        path: entryPath(header.name),
        at: entries++,
        size: sparse?.size ?? header.size,
      };
      if (entries > maxEntries)
        throw new OcidError("RESOURCE_EXHAUSTED", `archive has more than ${maxEntries} entries`);
      pieces.push({ kind: "entry", entry });
      file = header.type === "file" && wants(entry) ? new ContentReader(header) : undefined;
    },
    content(bytes) {
      if (file) pieces.push(...file.take(bytes));
    },
    endEntry() {
      if (file) pieces.push(...file.end());
      pieces.push({ kind: "end" });
    },
  });
  let bytes = 0;
  for await (const chunk of tar) {
    bytes += chunk.byteLength;
    // Small steps keep few pieces waiting, also where a chunk has a thousand small files.
    parser.write(chunk);
    const ready = pieces;
    pieces = [];
    for (const piece of ready) {
      if (piece.kind !== "content") yield piece;
      else
        for (const part of expanded(piece as Content)) {
          if (part.bytes.buffer === zeros.buffer) bytes += part.bytes.byteLength;
          if (bytes > maxBytes) throw tooLarge(maxBytes);
          yield part;
        }
    }
    if (bytes > maxBytes) throw tooLarge(maxBytes);
  }
  parser.finish();
}

interface Content {
  readonly kind: "content";
  readonly bytes: Uint8Array;
  /** Zeros that come before. */
  readonly hole?: number;
}

function* expanded({ bytes, hole = 0 }: Content): Generator<TarPiece & { readonly kind: "content" }> {
  for (let left = hole; left > 0; left -= zeros.byteLength)
    yield { kind: "content", bytes: zeros.subarray(0, Math.min(left, zeros.byteLength)) };
  if (bytes.byteLength > 0) yield { kind: "content", bytes };
}

/** Puts the content of a file in order, holes included. */
class ContentReader {
  readonly #size: number;
  readonly #sparse: SparseContent | undefined;
  #position = 0;
  #ready: Content[] = [];

  constructor({ sparse, size }: TarHeader) {
    this.#size = sparse?.size ?? size;
    if (!sparse) return;
    this.#sparse = new SparseContent(sparse, (bytes, position) => {
      this.#ready.push({ kind: "content", bytes, hole: position - this.#position });
      this.#position = position + bytes.byteLength;
    });
  }

  take(bytes: Uint8Array): readonly Content[] {
    if (!this.#sparse) return [{ kind: "content", bytes }];
    this.#sparse.add(bytes);
    const ready = this.#ready;
    this.#ready = [];
    return ready;
  }

  /** The hole that a file ends in. */
  end(): readonly Content[] {
    if (!this.#sparse) return [];
    this.#sparse.end();
    return [{ kind: "content", bytes: zeros.subarray(0, 0), hole: this.#size - this.#position }];
  }
}

function tooLarge(maxBytes: number): OcidError {
  return new OcidError("RESOURCE_EXHAUSTED", `archive is larger than the limit of ${maxBytes} bytes`);
}
