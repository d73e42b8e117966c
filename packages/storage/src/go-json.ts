import { readFileSync } from "node:fs";
import { OcidError, wrapError } from "@ocid/base";

/** A record of the store as it stands in its file: keys that are not ours are kept, in their places. */
export type Row = Record<string, unknown>;

/** JSON as Go writes it, so that a file that both write does not change by being written again. */
export function toGoJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    char => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Reads a file of records; missing or empty means none. What cannot be read is an error that names the file: a store is never taken for empty by mistake. */
export function readRows(path: string): Row[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw wrapError(`read ${path}`, error);
  }
  return parseRows(text, path);
}

export function parseRows(text: string, path: string): Row[] {
  if (text.trim() === "") return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new OcidError(
      "DATA_LOSS",
      `${path} is damaged: it is not JSON (${(error as Error).message}); repair it or restore it from a backup, nothing was changed`,
      { cause: error },
    );
  }
  if (value === null) return [];
  if (
    !Array.isArray(value) ||
    value.some(
      row =>
        typeof row !== "object" ||
        row === null ||
        typeof (row as Row)["id"] !== "string" ||
        !isId((row as Row)["id"] as string),
    )
  ) {
    throw new OcidError(
      "DATA_LOSS",
      `${path} is damaged: it is not a list of records with ids; repair it or restore it from a backup, nothing was changed`,
    );
  }
  return value as Row[];
}

/** Ids become names of directories: no separators, nothing that points upwards. */
function isId(id: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$/.test(id);
}

export function textOf(row: Row, key: string): string | undefined {
  const value = row[key];
  return typeof value === "string" && value !== "" ? value : undefined;
}

export function textsOf(row: Row, key: string): readonly string[] {
  const value = row[key];
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}

export function numberOf(row: Row, key: string): number | undefined {
  const value = row[key];
  return typeof value === "number" && Number.isSafeInteger(value) ? value : undefined;
}

export function objectOf(row: Row, key: string): Row {
  const value = row[key];
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Row) : {};
}

/** Sets or, with undefined, removes a key; a new key goes where the format's order has it. */
export function withKeys(row: Row, order: readonly string[], changes: Row): Row {
  const merged: Row = { ...row, ...changes };
  const rank = (key: string) => {
    const at = order.indexOf(key);
    return at === -1 ? order.length : at;
  };
  return Object.fromEntries(
    Object.entries(merged)
      .filter(([, value]) => value !== undefined)
      .sort(([a], [b]) => rank(a) - rank(b)),
  );
}
