import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { OcidError, wrapError } from "@ocid/base";
import { parseRows, type Row, toGoJson } from "./go-json.ts";
import { type LockContext, takeLock } from "./store-lock.ts";
import { writeRecord } from "./write-record.ts";

/**
 * The record files that one lock guards: layers.json and its volatile sister, images.json, and so on. Reading takes no
 * lock: it sees what was renamed into place, and parses again only when the file is another one.
 */
export class RecordSet {
  readonly #lockPath: string;
  readonly #files: readonly RecordFile[];
  readonly #directory: string | undefined;
  #token: string | undefined;
  #read: readonly (readonly Row[])[] = [];
  #rows: readonly Row[] = [];
  #byId: ReadonlyMap<unknown, Row> = new Map();

  /**
   * The first of `paths` is where new records go. In `directory` is what they are records of, each by its id: when that
   * is there and they are not, they were lost.
   */
  constructor(lockPath: string, paths: readonly string[], directory?: string) {
    this.#lockPath = lockPath;
    this.#files = paths.map(path => new RecordFile(path));
    this.#directory = directory;
  }

  /** All records; of those with the same id the first. Not to be changed. */
  rows(): readonly Row[] {
    const read = this.#files.map(file => file.read());
    if (read.length === this.#read.length && read.every((rows, at) => rows === this.#read[at]))
      return this.#rows;
    const byId = new Map<unknown, Row>();
    for (const row of read.flat()) if (!byId.has(row["id"])) byId.set(row["id"], row);
    this.#read = read;
    this.#rows = [...byId.values()];
    this.#byId = byId;
    return this.#rows;
  }

  /** The record with an id. */
  find(id: string): Row | undefined {
    this.rows();
    return this.#byId.get(id);
  }

  /**
   * Whether the files are missing or empty, as a power cut leaves them, while what they are records of is there. Every
   * program writes the record, or `[]`, before the directory.
   */
  #lost(): boolean {
    const directory = this.#directory;
    if (directory === undefined || this.#files.some(file => file.hasContent())) return false;
    return existsSync(directory) && readdirSync(directory).some(name => /^[0-9a-f]{64}$/.test(name));
  }

  /** DATA_LOSS when the records were lost: nothing is written in their place. */
  async lock(context: LockContext): Promise<LockedRecords> {
    const lock = await takeLock(this.#lockPath, "write", context);
    try {
      const token = lock.token();
      if (token !== this.#token) for (const file of this.#files) file.forget();
      this.#token = token;
      if (this.#lost()) throw this.#lostError();
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
    let touched = false;
    const write = async (file: RecordFile, rows: readonly Row[], lasting: boolean) => {
      if (!touched) lock.touch();
      touched = true;
      this.#token = lock.token();
      await file.write(rows, lasting);
    };
    return {
      rows: () => this.rows(),
      establish: async () => {
        if (!this.#files.some(file => file.hasContent())) await write(this.#files[0]!, [], true);
      },
      change: async (change, { append = [], lasting = true } = {}) => {
        for (const [at, file] of this.#files.entries()) {
          const before = file.read();
          const after: Row[] = before.flatMap<Row>(row => change(row) ?? []);
          if (at === 0) after.push(...append);
          if (after.length === before.length && after.every((row, at) => row === before[at])) continue;
          await write(file, after, lasting);
        }
      },
      [Symbol.dispose]: () => lock[Symbol.dispose](),
    };
  }

  #lostError(): OcidError {
    return new OcidError(
      "DATA_LOSS",
      `${this.#files[0]!.path} is missing or empty while ${this.#directory} is not; restore it from a backup, or write [] into it to give up what is there; nothing was changed`,
      { reason: "RecordsLost" },
    );
  }
}

/** Records that nobody else changes until this is disposed of. */
export interface LockedRecords extends Disposable {
  rows(): readonly Row[];
  /** Makes the file, without records, where there is none: before a directory whose record comes after it. */
  establish(): Promise<void>;
  /**
   * Gives each record to `change`, which returns it as it was, another in its place, or undefined to remove it. With
   * `lasting` false the change need not outlive a power cut by itself.
   */
  change(
    change: (row: Row) => Row | undefined,
    options?: { readonly append?: readonly Row[]; readonly lasting?: boolean },
  ): Promise<void>;
}

class RecordFile {
  readonly path: string;
  #rows: readonly Row[] = [];
  #seen = "";

  constructor(path: string) {
    this.path = path;
  }

  hasContent(): boolean {
    return (statSync(this.path, { throwIfNoEntry: false })?.size ?? 0) > 0;
  }

  read(): readonly Row[] {
    const seen = identity(this.path);
    if (seen === this.#seen) return this.#rows;
    this.#rows = readRows(this.path);
    this.#seen = seen;
    return this.#rows;
  }

  forget(): void {
    this.#seen = "";
  }

  async write(rows: readonly Row[], lasting: boolean): Promise<void> {
    await writeRecord(this.path, toGoJson(rows), { lasting });
    this.#rows = rows;
    this.#seen = identity(this.path);
  }
}

/** Missing or empty means none; what cannot be read is an error: a store is never taken for empty by mistake. */
function readRows(path: string): readonly Row[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw wrapError(`read ${path}`, error);
  }
  return parseRows(text, path);
}

function identity(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat ? `${stat.ino}:${stat.mtimeNs}:${stat.ctimeNs}:${stat.size}` : "none";
}
