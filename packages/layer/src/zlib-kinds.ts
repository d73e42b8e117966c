import {
  createGunzip,
  createGzip,
  createZstdDecompress,
  type Gunzip,
  type Gzip,
  type ZstdDecompress,
} from "node:zlib";

/** What is done with bytes; gzip is for what is written on the way, so it is fast. */
export type ZlibKind = "gunzip" | "unzstd" | "gzip";

/** One of the ways to inflate and deflate before a call returns. */
export interface ZlibParts {
  /** Takes a chunk and hands each piece of the result to `take`, which must be done with it when it returns. */
  write(chunk: Uint8Array, take: (piece: Uint8Array) => void): void;
  finish(take: (piece: Uint8Array) => void): void;
  close(): void;
}

const engines: Readonly<Record<ZlibKind, () => Gunzip | Gzip | ZstdDecompress>> = {
  gunzip: () => createGunzip(),
  unzstd: () => createZstdDecompress(),
  gzip: () => createGzip({ level: 1 }),
};

export function openZlib(kind: ZlibKind): Gunzip | Gzip | ZstdDecompress {
  return engines[kind]();
}
