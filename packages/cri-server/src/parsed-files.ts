import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { messageOf, OcidError } from "@ocid/base";

/** A file of the node's configuration: what it says, or why it cannot be used. */
export interface ParsedFile<T> {
  readonly path: string;
  readonly value: T | undefined;
  readonly problem: string | undefined;
}

/** The names of this form in a directory, in order; none where there is no such directory. */
export function namesIn(directory: string, form: RegExp): readonly string[] {
  try {
    return readdirSync(directory)
      .filter(name => form.test(name))
      .sort();
  } catch {
    return [];
  }
}

/** The files of directories that a person or a package puts there, parsed; they are read again when they have changed. */
export class ParsedFiles<T> {
  readonly #names: RegExp;
  readonly #parse: (bytes: Buffer) => T;
  readonly #maxBytes: number;
  readonly #files = new Map<string, ParsedFile<T> & { readonly mark: string }>();

  /** `names` says which files of a directory count; what has more than `maxBytes` cannot be used. */
  constructor(names: RegExp, maxBytes: number, parse: (bytes: Buffer) => T) {
    this.#names = names;
    this.#maxBytes = maxBytes;
    this.#parse = parse;
  }

  read(path: string): ParsedFile<T> {
    const cached = this.#files.get(path);
    try {
      const { mtimeNs, ctimeNs, size, ino } = statSync(path, { bigint: true });
      const mark = [mtimeNs, ctimeNs, size, ino].join(" ");
      if (cached?.mark === mark) return cached;
      const file = { path, mark, ...this.#load(path, size) };
      this.#files.set(path, file);
      return file;
    } catch (error) {
      return { path, value: undefined, problem: messageOf(error) };
    }
  }

  readAll(directory: string): readonly ParsedFile<T>[] {
    return namesIn(directory, this.#names).map(name => this.read(join(directory, name)));
  }

  #load(path: string, size: bigint): Pick<ParsedFile<T>, "value" | "problem"> {
    try {
      if (size > this.#maxBytes)
        throw new OcidError("RESOURCE_EXHAUSTED", `it has more than ${this.#maxBytes} bytes`);
      return { value: this.#parse(readFileSync(path)), problem: undefined };
    } catch (error) {
      return { value: undefined, problem: messageOf(error) };
    }
  }
}
