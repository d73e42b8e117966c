import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { OcidError, wrapError } from "@ocid/base";
import { parseRows, type Row, toGoJson } from "./go-json.ts";
import { type LockContext, type StoreLock, takeLock } from "./store-lock.ts";
import { writeRecord } from "./write-record.ts";

/** Where records lie. */
export interface RecordPlace {
  /** The lock that guards them. */
  readonly lock: string;
  /** The first is where new records go. */
  readonly files: readonly string[];
  /** In it is what they are records of, each by its id: when that is there and they are not, they were lost. */
  readonly directory?: string;
}

interface Place {
  readonly lock: string;
  readonly files: readonly RecordFile[];
  readonly directory: string | undefined;
}

/**
 * Record files and the lock that guards them: layers.json and its volatile sister, images.json, and so on; of a store
 * whose images are apart, in two places. Reading takes no lock: it sees what was renamed into place, and parses again
 * only when the file is another one.
 */
export class RecordSet {
  readonly #places: readonly Place[];
  #token: string | undefined;
  #read: readonly (readonly Row[])[] = [];
  #rows: readonly Row[] = [];
  #byId: ReadonlyMap<unknown, { readonly row: Row; readonly place: number }> = new Map();

  /** Locks are taken in the order of the places, and each tells of a change in any. */
  constructor(...places: readonly RecordPlace[]) {
    this.#places = places.map(({ lock, files, directory }) => ({
      lock,
      files: files.map(path => new RecordFile(path)),
      directory,
    }));
  }

  /** All records; of those with the same id the first. Not to be changed. */
  rows(): readonly Row[] {
    const places = this.#places.map(({ files }) => files.map(file => file.read()));
    const read = places.flat();
    if (read.length === this.#read.length && read.every((rows, at) => rows === this.#read[at]))
      return this.#rows;
    const byId = new Map<unknown, { readonly row: Row; readonly place: number }>();
    for (const [place, files] of places.entries())
      for (const row of files.flat()) if (!byId.has(row["id"])) byId.set(row["id"], { row, place });
    this.#read = read;
    this.#rows = Array.from(byId.values(), ({ row }) => row);
    this.#byId = byId;
    return this.#rows;
  }

  /** The record with an id. */
  find(id: string): Row | undefined {
    this.rows();
    return this.#byId.get(id)?.row;
  }

  /** The number of the place that a record of `rows` is from; undefined when there is none with the id. */
  placeOf(id: string): number | undefined {
    this.rows();
    return this.#byId.get(id)?.place;
  }

  /** DATA_LOSS when the records were lost: nothing is written in their place. */
  async lock(context: LockContext): Promise<LockedRecords> {
    using undo = new DisposableStack();
    const locks: StoreLock[] = [];
    for (const { lock } of this.#places) locks.push(undo.use(await takeLock(lock, "write", context)));
    const tokens = () => locks.map(lock => lock.token()).join();
    const token = tokens();
    if (token !== this.#token) for (const file of this.#files()) file.forget();
    this.#token = token;
    const lost = this.#places.find(hasLostRecords);
    if (lost) throw lostError(lost);
    const held = undo.move();
    let touched = false;
    const write = async (file: RecordFile, rows: readonly Row[], lasting: boolean) => {
      if (!touched) for (const lock of locks) lock.touch();
      touched = true;
      this.#token = tokens();
      await file.write(rows, lasting);
    };
    return {
      rows: () => this.rows(),
      entries: () =>
        this.#places.flatMap(({ files }, place) =>
          files.flatMap(file => file.read().map(row => [row, place] as const)),
        ),
      establish: async (place = 0) => {
        const { files } = this.#places[place]!;
        if (!files.some(file => file.hasContent())) await write(files[0]!, [], true);
      },
      change: async (change, { append = [], to = 0, lasting = true } = {}) => {
        for (const [place, { files }] of this.#places.entries()) {
          for (const [at, file] of files.entries()) {
            const before = file.read();
            const after: Row[] = before.flatMap<Row>(row => change(row, place) ?? []);
            if (place === to && at === 0) after.push(...append);
            if (after.length === before.length && after.every((row, at) => row === before[at])) continue;
            await write(file, after, lasting);
          }
        }
      },
      [Symbol.dispose]: () => held.dispose(),
    };
  }

  #files(): readonly RecordFile[] {
    return this.#places.flatMap(place => place.files);
  }
}

/**
 * Whether the files are missing or empty, as a power cut leaves them, while what they are records of is there. Every
 * program writes the record, or `[]`, before the directory.
 */
function hasLostRecords({ directory, files }: Place): boolean {
  if (directory === undefined || files.some(file => file.hasContent())) return false;
  return existsSync(directory) && readdirSync(directory).some(name => /^[0-9a-f]{64}$/.test(name));
}

function lostError({ directory, files }: Place): OcidError {
  return new OcidError(
    "DATA_LOSS",
    `${files[0]!.path} is missing or empty while ${directory} is not; restore it from a backup, or write [] into it to give up what is there; nothing was changed`,
    { reason: "RecordsLost" },
  );
}

/** Records that nobody else changes until this is disposed of. */
export interface LockedRecords extends Disposable {
  rows(): readonly Row[];
  /** The records of every place, each with its place's number. */
  entries(): readonly (readonly [Row, number])[];
  /** Makes a place's file, without records, where there is none: before a directory whose record comes after it. */
  establish(place?: number): Promise<void>;
  /**
   * Gives each record, with the number of its place, to `change`, which returns it as it was, another in its place, or
   * undefined to remove it. What is appended goes to the place `to`, by default the first. With `lasting` false the
   * change need not outlive a power cut by itself.
   */
  change(
    change: (row: Row, place: number) => Row | undefined,
    options?: { readonly append?: readonly Row[]; readonly to?: number; readonly lasting?: boolean },
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
