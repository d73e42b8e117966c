import { write, writeSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { promisify } from "node:util";
import { Semaphore } from "@ocid/base";

const writeInPool = promisify(write);

/**
 * Written by one call. For larger ones the kernel looks for larger blocks of memory, which in a virtual machine may be
 * such as the host has to find first: six times the time.
 */
const writeBytes = 64 * 1024;

/** Bytes after which those before are synced, while more come: so little is left to wait for in the end. */
const syncBytes = 32 * 1024 * 1024;

/** Of the thread pool's four threads some are left for writes, which would else wait for the disk too. */
const syncing = new Semaphore(2);

/** The end of a file that was opened for appending, for bytes of which all have to be on the disk at some time. */
export class FileEnd {
  readonly #file: FileHandle;
  #unsynced = 0;
  #syncing: Promise<void> | undefined;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Resolves when the bytes are in the file, and their memory can be used again. */
  async append(bytes: Uint8Array): Promise<void> {
    // A disk that is nearly full takes a part; the rest says why.
    for (let at = 0; at < bytes.byteLength; ) {
      const length = Math.min(writeBytes, bytes.byteLength - at);
      // Memory takes it at once, and a trip through the thread pool takes longer; a disk that is busy may have it wait.
      at += this.#syncing
        ? (await writeInPool(this.#file.fd, bytes, at, length)).bytesWritten
        : writeSync(this.#file.fd, bytes, at, length);
    }
    this.#unsynced += bytes.byteLength;
    if (this.#unsynced >= syncBytes && !this.#syncing) this.#beginSync();
  }

  /** Resolves when everything is on the disk. */
  async sync(): Promise<void> {
    await this.#syncing;
    await syncing.run(() => this.#file.datasync());
  }

  /** Resolves when the file is left alone, so that it can be closed. */
  async settle(): Promise<void> {
    await this.#syncing?.catch(() => {});
  }

  #beginSync(): void {
    this.#unsynced = 0;
    const running = syncing
      .run(() => this.#file.datasync())
      .then(() => {
        this.#syncing = undefined;
      });
    // A failure is told by `sync`, once everything has come.
    running.catch(() => {});
    this.#syncing = running;
  }
}
