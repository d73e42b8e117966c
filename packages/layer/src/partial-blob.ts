import { closeSync, fstatSync, openSync, readdirSync, readSync, rmSync, statSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** A piece of a blob that is kept on disk: from its first byte on, without holes. */
export interface KeptPiece {
  readonly from: number;
  /** The byte after its last one. */
  readonly to: number;
}

interface OpenPiece {
  readonly fd: number;
  readonly from: number;
  to: number;
}

/**
 * The bytes of a blob that have arrived, in files beside each other: `<path>.<offset>` holds what came from that offset
 * on. What is there is told by names and sizes alone, so that a process that is killed leaves nothing to repair.
 */
export class PartialBlob implements Disposable {
  readonly #path: string;
  readonly #size: number;
  readonly #pieces = new Map<number, OpenPiece>();

  constructor(path: string, size: number) {
    this.#path = path;
    this.#size = size;
    for (const { from } of findKeptPieces(path)) this.#open(from);
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#pieces.values()) closeSync(fd);
    this.#pieces.clear();
  }

  /** What is missing, cut into parts of at most `bytes`, in order. */
  gaps(bytes: number): readonly KeptPiece[] {
    const gaps: KeptPiece[] = [];
    const fill = (from: number, to: number) => {
      for (let at = from; at < to; at += bytes) gaps.push({ from: at, to: Math.min(to, at + bytes) });
    };
    let at = 0;
    for (const piece of [...this.#pieces.values()].sort((a, b) => a.from - b.from)) {
      fill(at, piece.from);
      at = Math.max(at, piece.to);
    }
    fill(at, this.#size);
    return gaps;
  }

  /** Keeps bytes that belong at `offset`: at the end of a piece, or as the first of a new one. */
  write(offset: number, bytes: Uint8Array): void {
    const piece = this.#endingAt(offset) ?? this.#open(offset);
    for (let at = 0; at < bytes.byteLength; ) at += writeSync(piece.fd, bytes, at);
    piece.to += bytes.byteLength;
  }

  /** Reads bytes from `offset` on into the buffer; 0 when none are there. */
  read(offset: number, buffer: Uint8Array): number {
    for (const { fd, from, to } of this.#pieces.values()) {
      if (offset < from || offset >= to) continue;
      return readSync(fd, buffer, 0, Math.min(buffer.byteLength, to - offset), offset - from);
    }
    return 0;
  }

  /** Forgets everything. */
  remove(): void {
    this[Symbol.dispose]();
    removeKeptPieces(this.#path);
  }

  #endingAt(offset: number): OpenPiece | undefined {
    for (const piece of this.#pieces.values()) if (piece.to === offset) return piece;
    return undefined;
  }

  #open(from: number): OpenPiece {
    const known = this.#pieces.get(from);
    if (known) return known;
    const fd = openSync(`${this.#path}.${from}`, "a+", 0o600);
    const piece = { fd, from, to: from + fstatSync(fd).size };
    this.#pieces.set(from, piece);
    return piece;
  }
}

/** The pieces that an interrupted download has left for a path, in order. */
export function findKeptPieces(path: string): readonly (KeptPiece & { readonly path: string })[] {
  const name = basename(path);
  return readdirSync(dirname(path))
    .flatMap(entry => {
      const offset = entry.startsWith(`${name}.`) ? entry.slice(name.length + 1) : "";
      return /^\d{1,15}$/.test(offset) ? [{ path: join(dirname(path), entry), from: Number(offset) }] : [];
    })
    .map(piece => ({
      ...piece,
      to: piece.from + (statSync(piece.path, { throwIfNoEntry: false })?.size ?? 0),
    }))
    .sort((a, b) => a.from - b.from);
}

export function removeKeptPieces(path: string): void {
  for (const piece of findKeptPieces(path)) rmSync(piece.path, { force: true });
}
