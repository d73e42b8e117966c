import { OcidError } from "@ocid/base";
import { type Digest, parseDigest } from "@ocid/spec";

/** A record of the store as it stands in its file: keys that are not ours are kept, in their places. */
export type Row = Record<string, unknown>;

/** JSON as Go writes it, so that a file that both write does not change by being written again. */
export function toGoJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    char => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The records of a file; empty text means none. DATA_LOSS names the file. */
export function parseRows(text: string, path: string): Row[] {
  if (text.trim() === "") return [];
  let value: unknown;
  try {
    value = parseExactly(text);
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

/** Numbers that a double cannot hold stay as they are spelled, so that other programs' records survive being rewritten. */
function parseExactly(text: string): unknown {
  if (!/[:,[]\s*-?[\d.eE+-]{16,}/.test(text)) return JSON.parse(text);
  const { rawJSON } = JSON as unknown as { rawJSON(source: string): unknown };
  return JSON.parse(text, ((_key: string, value: unknown, context: { readonly source: string }) =>
    typeof value === "number" && !Number.isSafeInteger(value) ? rawJSON(context.source) : value) as (
    key: string,
    value: unknown,
  ) => unknown);
}

/** Ids become names of directories: no separators, nothing that points upwards. */
export function isId(id: string): boolean {
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

/** Undefined for what is no digest: one odd record must not hide all others. */
export function asDigest(value: unknown): Digest | undefined {
  if (value === undefined) return undefined;
  try {
    return parseDigest(value);
  } catch {
    return undefined;
  }
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
