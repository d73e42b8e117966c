import { isOcidError } from "@ocid/base";
import type { Setting } from "./config-schema.ts";
import { fits, isTable, wanted } from "./config-value.ts";
import { nearestName } from "./nearest-name.ts";

type ValueKey = Pick<Setting, "type" | "choices" | "meaning">;

interface InnerTableKey {
  readonly type: "table";
  readonly meaning: string;
  /** As the JSON Schema has it. */
  readonly schema: object;
  /** Throws an OcidError that says what is wrong. */
  readonly check: (value: unknown) => unknown;
}

/** What a table with a name of its own may hold, such as `[runtimes.NAME]`. */
export interface NamedTable {
  readonly meaning: string;
  readonly keys: Readonly<Record<string, ValueKey | InnerTableKey>>;
  /** The key that must be there. */
  readonly required: string;
  /** What is said where it is not. */
  readonly advice: string;
}

export interface TableProblem {
  /** Empty where the problem is about the whole table. */
  readonly key: string;
  readonly message: string;
}

/** What is wrong with the content of a table. */
export function tableProblems({ keys, required, advice }: NamedTable, entry: unknown): TableProblem[] {
  const table = isTable(entry) ? entry : {};
  const problems = Object.entries(table).flatMap(([key, value]): TableProblem[] => {
    const known = Object.hasOwn(keys, key) ? keys[key] : undefined;
    const message = known ? valueProblem(key, known, value) : unknownKey(key, Object.keys(keys));
    return message === undefined ? [] : [{ key, message }];
  });
  return required in table ? problems : [...problems, { key: "", message: advice }];
}

function valueProblem(key: string, known: ValueKey | InnerTableKey, value: unknown): string | undefined {
  if (known.type === "table") {
    try {
      known.check(value);
      return undefined;
    } catch (error) {
      if (isOcidError(error)) return error.message;
      throw error;
    }
  }
  const setting: Setting = { ...known, key };
  if (fits(setting, value)) return undefined;
  return `${key}: expected ${wanted(setting)}, found ${JSON.stringify(value)}`;
}

function unknownKey(key: string, keys: readonly string[]): string {
  const near = nearestName(key, keys);
  return `unknown key ${key} (${near ? `did you mean ${near}?` : `known: ${keys.join(", ")}`})`;
}
