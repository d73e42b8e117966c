/** A file with one number; undefined where it says something else (`max`) or there is none. */
export function number(text: string | undefined): bigint | undefined {
  return text !== undefined && /^\d+\s*$/.test(text) ? BigInt(text.trim()) : undefined;
}

/** Reader of a file of lines `key value`; looks for what it is asked, for such files have many lines. */
export function keyed(text = ""): (key: string) => bigint | undefined {
  return key => {
    const before = text.startsWith(`${key} `) ? 0 : text.indexOf(`\n${key} `) + 1 || -1;
    if (before === -1) return undefined;
    const end = text.indexOf("\n", before);
    return number(text.slice(before + key.length + 1, end === -1 ? undefined : end));
  };
}

/** Above this a limit of version 1 means none: the largest multiple of a page. */
export const unlimited: bigint = 1n << 62n;
