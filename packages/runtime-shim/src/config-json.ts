import type { RuntimeSpec } from "@ocid/spec";

// Node has it; the language's library does not name it yet.
const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };

/** A runtime configuration as JSON, with 64-bit numbers written out. */
export function configJson(spec: RuntimeSpec): string {
  return JSON.stringify(spec, (_, value) => (typeof value === "bigint" ? rawJSON(value.toString()) : value));
}
