/** A file with one number; undefined where it says something else (`max`) or there is none. */
export function number(text: string | undefined): bigint | undefined {
  return text !== undefined && /^\d+\s*$/.test(text) ? BigInt(text.trim()) : undefined;
}

/** Reader of a file of lines `key value`. */
export function keyed(text: string | undefined): (key: string) => bigint | undefined {
  const values = new Map((text ?? "").split("\n").map(line => line.split(" ") as [string, string]));
  return key => number(values.get(key));
}

/** Above this a limit of version 1 means none: the largest multiple of a page. */
export const unlimited: bigint = 1n << 62n;
