import { defaultConfig, type Setting, settings } from "./config-schema.ts";
import { settingValue } from "./print-config.ts";
import { runtimeKeys } from "./runtime-table.ts";

/** The JSON Schema (2020-12) of the configuration file, for editors that check TOML with one. */
export function configJsonSchema(): unknown {
  const tables = Map.groupBy(settings as readonly Setting[], setting => setting.key.split(".")[0] ?? "");
  const table = (properties: Readonly<Record<string, unknown>>) => ({
    type: "object",
    additionalProperties: false,
    properties,
  });
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Configuration of ocid",
    ...table({
      ...Object.fromEntries(
        [...tables].map(([name, group]) => [
          name,
          table(
            Object.fromEntries(group.map(setting => [setting.key.split(".")[1], settingSchema(setting)])),
          ),
        ]),
      ),
      runtimes: {
        type: "object",
        description: "runtime handlers by name",
        additionalProperties: {
          ...table(
            Object.fromEntries(
              Object.entries(runtimeKeys).map(([key, setting]) => [
                key,
                { description: setting.meaning, ...typeSchema(setting.type, setting) },
              ]),
            ),
          ),
          required: ["path"],
        },
      },
    }),
  };
}

function settingSchema(setting: Setting): unknown {
  return {
    description: setting.meaning,
    default: settingValue(defaultConfig, setting.key),
    ...typeSchema(setting.type, setting),
  };
}

function typeSchema(type: Setting["type"], { choices, mayBeEmpty }: Partial<Setting> = {}): object {
  if (choices) return { enum: choices };
  switch (type) {
    case "string":
      return { type: "string", ...(mayBeEmpty ? {} : { minLength: 1 }) };
    case "strings":
      return { type: "array", items: { type: "string", minLength: 1 } };
    case "integer":
      return { type: "integer", minimum: 0 };
    case "boolean":
      return { type: "boolean" };
  }
}
