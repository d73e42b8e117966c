import { OcidError } from "@ocid/base";

const units = ["", "k", "m", "g", "t", "p"];

/**
 * Bytes of a size as storage.conf gives it: a number, and k, m, g, t or p for powers of 1024, whether `B` or `iB`
 * follows or not. INVALID_ARGUMENT names `what` is wrong.
 */
export function parseSize(text: string, what: string): number {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?$/i.exec(text.trim()) ?? [];
  const bytes = Math.floor(Number(number) * 1024 ** units.indexOf(unit.toLowerCase()));
  if (number !== undefined && Number.isSafeInteger(bytes)) return bytes;
  throw new OcidError(
    "INVALID_ARGUMENT",
    `storage.conf: ${what} should be a size such as 10G, found ${JSON.stringify(text.slice(0, 100))}`,
  );
}
