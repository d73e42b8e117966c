import { open } from "node:fs/promises";
import type { CallOptions } from "./image-source.ts";

const pieceBytes = 256 * 1024;

/** A file's bytes from an offset on, read ahead into a few buffers: a piece's memory is used again when the next one is asked for. */
export async function* readFilePieces(
  path: string,
  { offset, signal }: CallOptions & { readonly offset: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  const file = await open(path);
  const buffers = [0, 1, 2].map(() => Buffer.allocUnsafeSlow(pieceBytes));
  let position = offset;
  let last: Promise<unknown> = Promise.resolve();
  // One after the other, because a read may bring less than asked for.
  const readInto = (buffer: Buffer): Promise<Buffer> => {
    const reading = last.then(async () => {
      const { bytesRead } = await file.read(buffer, 0, pieceBytes, position);
      position += bytesRead;
      return buffer.subarray(0, bytesRead);
    });
    // Whoever asks for it is told.
    reading.catch(() => {});
    last = reading;
    return reading;
  };
  try {
    const ahead = buffers.slice(1).map(readInto);
    let free = buffers[0]!;
    for (let turn = 1; ; turn++) {
      ahead.push(readInto(free));
      const piece = await ahead.shift()!;
      signal?.throwIfAborted();
      if (piece.byteLength === 0) return;
      yield piece;
      free = buffers[turn % buffers.length]!;
    }
  } finally {
    await last.catch(() => {});
    await file.close();
  }
}
