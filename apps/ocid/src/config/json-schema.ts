import { defaultConfig, type Setting, settings } from "./config-schema.ts";
import type { NamedTable } from "./named-table.ts";
import { namedTables } from "./named-tables.ts";
import { settingValue } from "./print-config.ts";

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
      ...Object.fromEntries(
        Object.entries(namedTables).map(([name, { meaning, keys, required }]) => [
          name,
          {
            type: "object",
            description: meaning,
            additionalProperties: {
              ...table(
                Object.fromEntries(Object.entries(keys).map(([key, known]) => [key, keySchema(known)])),
              ),
              required: [required],
            },
          },
        ]),
      ),
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

function keySchema(key: NamedTable["keys"][string]): unknown {
  return {
    description: key.meaning,
    ...(key.type === "table" ? key.schema : typeSchema(key.type, key)),
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
