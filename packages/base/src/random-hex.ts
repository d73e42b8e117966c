import { randomFillSync } from "node:crypto";

const pool = Buffer.alloc(1024);
let used = pool.byteLength;

/**
 * Hexadecimal digits, two for each byte, for names that nobody else draws. No secrets: what is drawn lies in memory ahead,
 * because asking for a few bytes takes longer than making the file that they name.
 */
export function randomHex(bytes: number): string {
  if (bytes > pool.byteLength) throw new RangeError(`at most ${pool.byteLength} bytes at once, not ${bytes}`);
  if (used + bytes > pool.byteLength) {
    randomFillSync(pool);
    used = 0;
  }
  const text = pool.toString("hex", used, used + bytes);
  used += bytes;
  return text;
}
