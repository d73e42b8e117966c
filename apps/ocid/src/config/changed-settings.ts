import { isDeepStrictEqual } from "node:util";
import { type Config, type Setting, settings } from "./config-schema.ts";
import { namedTableNames } from "./named-tables.ts";
import { settingValue } from "./print-config.ts";

/** What differs between two configurations, by key: what can change while the daemon runs, and what cannot. */
export function changedSettings(
  before: Config,
  after: Config,
): { readonly reloads: readonly string[]; readonly needsRestart: readonly string[] } {
  const changed = (settings as readonly Setting[]).filter(
    ({ key }) => !isDeepStrictEqual(settingValue(before, key), settingValue(after, key)),
  );
  const tables = namedTableNames.flatMap(table =>
    Object.keys({ ...before[table], ...after[table] })
      .filter(name => !isDeepStrictEqual(before[table][name], after[table][name]))
      .map(name => `${table}.${name}`),
  );
  return {
    reloads: [...changed.filter(setting => setting.reloads).map(setting => setting.key), ...tables],
    needsRestart: changed.filter(setting => !setting.reloads).map(setting => setting.key),
  };
}
