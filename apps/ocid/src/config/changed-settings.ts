import { isDeepStrictEqual } from "node:util";
import { type Config, type Setting, settings } from "./config-schema.ts";
import { settingValue } from "./print-config.ts";

/** What differs between two configurations, by key: what can change while the daemon runs, and what cannot. */
export function changedSettings(
  before: Config,
  after: Config,
): { readonly reloads: readonly string[]; readonly needsRestart: readonly string[] } {
  const changed = (settings as readonly Setting[]).filter(
    ({ key }) => !isDeepStrictEqual(settingValue(before, key), settingValue(after, key)),
  );
  const runtimes = Object.keys({ ...before.runtimes, ...after.runtimes }).filter(
    name => !isDeepStrictEqual(before.runtimes[name], after.runtimes[name]),
  );
  return {
    reloads: [
      ...changed.filter(setting => setting.reloads).map(setting => setting.key),
      ...runtimes.map(name => `runtimes.${name}`),
    ],
    needsRestart: changed.filter(setting => !setting.reloads).map(setting => setting.key),
  };
}
