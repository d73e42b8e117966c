import type { FileHandle } from "node:fs/promises";

/** Bytes that one write takes: a trip to the thread pool and back costs more than copying a socket's chunk. */
const batchBytes = 1024 * 1024;

/**
 * Appends chunks to a file that was opened for appending, many with one write, and while the next ones arrive. Chunks
 * are kept until they are written and must not be filled anew. A write's failure shows with a later call, `flush` at
 * the latest.
 */
export class FileEnd {
  readonly #file: FileHandle;
  #waiting: Uint8Array[] = [];
  #bytes = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async append(chunk: Uint8Array): Promise<void> {
    this.#waiting.push(chunk);
    this.#bytes += chunk.byteLength;
    if (this.#bytes >= batchBytes) await this.#begin();
  }

  /** Resolves when everything is in the file. */
  async flush(): Promise<void> {
    await this.#begin();
    await this.#writing;
  }

  async #begin(): Promise<void> {
    await this.#writing;
    const batch = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    this.#writing = writeAll(this.#file, batch);
    // Whoever waits for it next is told.
    this.#writing.catch(() => {});
  }
}

async function writeAll(file: FileHandle, chunks: readonly Uint8Array[]): Promise<void> {
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
  if (bytes === 0) return;
  const { bytesWritten } = await file.writev(chunks);
  // A disk that is nearly full takes a part; the rest says why.
  if (bytesWritten < bytes) await writeRest(file, Buffer.concat(chunks).subarray(bytesWritten));
}

async function writeRest(file: FileHandle, rest: Uint8Array): Promise<void> {
  for (let at = 0; at < rest.byteLength; )
    at += (await file.write(rest, at, rest.byteLength - at)).bytesWritten;
}
