import type { Setting } from "./config-schema.ts";

/** What a setting wants, for an error message. */
export function wanted(setting: Setting): string {
  if (setting.choices) return `one of ${setting.choices.join(", ")}`;
  switch (setting.type) {
    case "strings":
      return "a list of strings";
    case "integer":
      return "a whole number from 0 on";
    case "boolean":
      return "true or false";
    case "string":
      return "a string that is not empty";
  }
}

/** Whether a value read from TOML is one that the setting can have. */
export function fits(setting: Setting, value: unknown): boolean {
  if (setting.choices) return typeof value === "string" && setting.choices.includes(value);
  switch (setting.type) {
    case "string":
      return typeof value === "string" && (value !== "" || setting.mayBeEmpty === true);
    case "strings":
      return isWords(value);
    case "boolean":
      return typeof value === "boolean";
    case "integer":
      return Number.isSafeInteger(value) && (value as number) >= 0;
  }
}

/** The words of a flag or of an environment variable as the value of a setting; what is wrong is left for `fits`. */
export function fromWords(setting: Setting, words: readonly string[]): unknown {
  if (setting.type === "strings") return words;
  const last = words.at(-1) ?? "";
  if (setting.type === "integer") return /^\d+$/.test(last) ? Number(last) : last;
  if (setting.type === "boolean") return last === "true" ? true : last === "false" ? false : last;
  return last;
}

export function isWords(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(item => typeof item === "string" && item !== "");
}

export function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
