import { OcidError } from "@ocid/base";

/** For documents in which what is not understood must not be passed over; `what` names the object. */
export function refuseUnknownKeys(
  object: Readonly<Record<string, unknown>>,
  known: readonly string[],
  what: string,
): void {
  const unknown = Object.keys(object).find(key => !known.includes(key));
  if (unknown !== undefined)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${what} has the unknown key ${JSON.stringify(unknown.slice(0, 80))}`,
    );
}
