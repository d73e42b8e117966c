import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { type Row, readRows, toGoJson } from "./go-json.ts";

/** A file of records. Readers need no lock: they see what was renamed into place. */
export class RecordFile {
  readonly path: string;
  #rows: readonly Row[] = [];
  #seen = "";

  constructor(path: string) {
    this.path = path;
  }

  /** The records as they are on disk now; parsed again only when the file is another one. Not to be changed. */
  read(): readonly Row[] {
    const seen = identity(this.path);
    if (seen !== this.#seen) {
      this.#rows = readRows(this.path);
      this.#seen = seen;
    }
    return this.#rows;
  }

  /** Replaces the file, durably; the caller holds the lock and has touched it. */
  write(rows: readonly Row[]): void {
    writeRecordFile(this.path, toGoJson(rows));
    this.#rows = rows;
    this.#seen = identity(this.path);
  }
}

function identity(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat ? `${stat.ino}:${stat.mtimeNs}:${stat.size}` : "none";
}

export function writeRecordFile(path: string, content: string | Uint8Array): void {
  const directory = dirname(path);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const temporary = join(directory, `.tmp-${basename(path)}${randomBytes(5).toString("hex")}`);
  try {
    const fd = openSync(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      const bytes = typeof content === "string" ? Buffer.from(content) : content;
      for (let at = 0; at < bytes.byteLength; ) at += writeSync(fd, bytes, at);
      fchmodSync(fd, 0o600);
      fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory(directory);
}

/** Makes what was renamed, made or removed in a directory survive a power cut. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
