import { writeSync } from "node:fs";
import { table } from "./table.ts";

/** What a command has to say: to programs as JSON, to people as text. */
export function printResult(json: boolean, value: unknown, forPeople: () => string): void {
  const text = json
    ? `${JSON.stringify(value, (_, item) => (typeof item === "bigint" ? item.toString() : item), 2)}\n`
    : forPeople();
  print(text);
}

export function printRows(
  json: boolean,
  value: unknown,
  headings: readonly string[],
  rows: readonly (readonly string[])[],
): void {
  printResult(json, value, () => table(headings, rows));
}

/** Writes all of a text to standard output before it returns, so that the process may end at any time after. */
export function print(text: string): void {
  writeAll(1, Buffer.from(text));
}

export function printError(text: string): void {
  writeAll(2, Buffer.from(`${text}\n`));
}

export function writeAll(fd: number, bytes: Uint8Array): void {
  let rest = bytes;
  while (rest.byteLength > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EPIPE") process.exit(0);
      if (code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}
