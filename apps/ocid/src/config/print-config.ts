import { stringify } from "smol-toml";
import { type Config, defaultConfig, type Setting, settings } from "./config-schema.ts";
import { environmentName, type LoadedConfig, type Origin, placeOf } from "./load-config.ts";
import { type NamedTableName, namedTableNames } from "./named-tables.ts";

/**
 * The configuration as a TOML file that says the same again: each setting with its meaning, and where its value comes
 * from unless that is the default.
 */
export function printConfig({ config, origins }: Pick<LoadedConfig, "config" | "origins">): string {
  const lines: string[] = [];
  for (const [table, group] of tables()) {
    lines.push(`[${table}]`);
    for (const setting of group) lines.push(...settingLines(setting, config, origins.get(setting.key)));
    lines.push("");
    if (table !== "runtime") continue;
    lines.push(
      ...namedLines("runtimes", "a runtime handler, by the name that a RuntimeClass gives", config, origins),
    );
    lines.push(
      "# kinds of pods that are pinned to processors, each with a table [workloads.NAME]",
      "[workloads]",
      "",
    );
    lines.push(
      ...namedLines("workloads", "containers of pods with this annotation are pinned", config, origins),
    );
  }
  return lines.join("\n");
}

/** The effective values by `table.key` and names of tables such as `runtimes.NAME`, each with its origin, for programs. */
export function configAsJson({ config, origins }: Pick<LoadedConfig, "config" | "origins">): unknown {
  const origin = (name: string) => origins.get(name) ?? { kind: "default" };
  return Object.fromEntries([
    ...(settings as readonly Setting[]).map(({ key }) => [
      key,
      { value: settingValue(config, key), origin: origin(key) },
    ]),
    ...namedTableNames.flatMap(table =>
      Object.entries(config[table]).map(([name, value]) => [
        `${table}.${name}`,
        { value, origin: origin(`${table}.${name}`) },
      ]),
    ),
  ]);
}

/** The value of `table.key`. */
export function settingValue(config: Config, key: string): unknown {
  const [table = "", name = ""] = key.split(".");
  return (config as unknown as Record<string, Record<string, unknown>>)[table]?.[name];
}

function tables(): Map<string, Setting[]> {
  return Map.groupBy(settings as readonly Setting[], setting => setting.key.split(".")[0] ?? "");
}

function settingLines(setting: Setting, config: Config, origin: Origin | undefined): string[] {
  const name = setting.key.split(".")[1] ?? "";
  const choices = setting.choices ? ` (${setting.choices.join(", ")})` : "";
  const restart = setting.reloads ? "" : "; needs a restart";
  const value = settingValue(config, setting.key);
  const lines = [
    `# ${setting.meaning}${choices}${restart}`,
    `# also ${environmentName(setting.key)}${flagOf(setting)}`,
  ];
  if (origin)
    lines.push(
      `# from ${placeOf(origin)}; default ${JSON.stringify(settingValue(defaultConfig, setting.key))}`,
    );
  return [...lines, stringify({ [name]: value }).trimEnd()];
}

function flagOf({ flag }: Setting): string {
  return flag === undefined ? "" : `, --${flag}`;
}

function namedLines(
  table: NamedTableName,
  meaning: string,
  config: Config,
  origins: ReadonlyMap<string, Origin>,
): string[] {
  return Object.entries(config[table]).flatMap(([name, entry]) => {
    const origin = origins.get(`${table}.${name}`);
    return [
      `# ${meaning}`,
      ...(origin ? [`# from ${placeOf(origin)}`] : []),
      stringify({ [table]: { [name]: entry } }).trim(),
      "",
    ];
  });
}
