import { constants } from "node:os";
import { OcidError } from "@ocid/base";

/** The number of a signal by its name (`SIGTERM`, `TERM`) or number as text; INVALID_ARGUMENT when there is none. */
export function signalNumber(name: string): number {
  const text = name.trim().toUpperCase();
  const number = /^\d+$/.test(text)
    ? Number(text)
    : (realTime(text) ??
      (constants.signals as Record<string, number>)[text.startsWith("SIG") ? text : `SIG${text}`]);
  if (number === undefined || number < 1 || number > 64)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `unknown signal ${JSON.stringify(name.slice(0, 40))} (expected a name such as SIGTERM or a number from 1 to 64)`,
    );
  return number;
}

function realTime(text: string): number | undefined {
  const match = /^(?:SIG)?RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(text);
  if (!match) return undefined;
  const offset = Number(match[3] ?? 0) * (match[2] === "-" ? -1 : 1);
  const number = (match[1] === "MIN" ? 34 : 64) + offset;
  return number >= 34 && number <= 64 ? number : undefined;
}
