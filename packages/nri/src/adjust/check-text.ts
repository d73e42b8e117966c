import { OcidError } from "@ocid/base";

/** Text that reaches a C program: INVALID_ARGUMENT where a NUL would end it. */
export function checkText(what: string, text: string): string {
  if (text.includes("\0"))
    throw new OcidError("INVALID_ARGUMENT", `${what} ${JSON.stringify(text.slice(0, 100))} has a zero byte`);
  return text;
}
