import { defaultConfig, type Setting, settings } from "../../apps/ocid/src/config/config-schema.ts";
import { environmentName } from "../../apps/ocid/src/config/load-config.ts";
import { namedTables } from "../../apps/ocid/src/config/named-tables.ts";
import { settingValue } from "../../apps/ocid/src/config/print-config.ts";
import type { CommandSpec, OptionSpec } from "./program-spec.ts";

/** Manual page of a program with its commands, section 1 or 8, in the man macros (man(7)). */
export function programPage(spec: CommandSpec, section: 1 | 8, more: readonly string[] = []): string {
  return page(spec.name, section, spec.description, [
    ".SH SYNOPSIS",
    `.B ${spec.name}`,
    spec.commands.length > 0 ? "[\\fIoptions\\fR] [\\fIcommand\\fR] …" : "[\\fIoptions\\fR]",
    ".SH OPTIONS",
    ...spec.options.flatMap(optionLines),
    ...(spec.commands.length > 0 ? [".SH COMMANDS"] : []),
    ...spec.commands.flatMap(command => commandLines(command, [])),
    ...more,
  ]);
}

/** Manual page of the configuration file, ocid.conf(5). */
export function configPage(): string {
  const tables = Map.groupBy(settings as readonly Setting[], setting => setting.key.split(".")[0] ?? "");
  return page("ocid.conf", 5, "configuration of ocid", [
    ".SH DESCRIPTION",
    text(
      "TOML. /etc/ocid/ocid.conf is read first, then /etc/ocid/ocid.conf.d/*.conf by name, then the environment, then the flags; the later wins. `ocid config` prints what holds and where it comes from, `ocid config validate` says mistakes.",
    ),
    ...[...tables].flatMap(([table, group]) => [
      `.SH ${text(`[${table}]`)}`,
      ...group.flatMap(setting => [
        ".TP",
        `.B ${text(setting.key.split(".")[1] ?? "")}`,
        text(
          `${setting.meaning}${setting.choices ? ` (${setting.choices.join(", ")})` : ""}. Default: ${JSON.stringify(settingValue(defaultConfig, setting.key))}. Also ${environmentName(setting.key)}${setting.flag === undefined ? "" : `, --${setting.flag}`}.`,
        ),
      ]),
    ]),
    ...Object.entries(namedTables).flatMap(([table, { meaning, keys }]) => [
      `.SH ${text(`[${table}.NAME]`)}`,
      text(`${meaning}.`),
      ...Object.entries(keys).flatMap(([key, known]) => [
        ".TP",
        `.B ${text(key)}`,
        text(`${known.meaning}.`),
      ]),
    ]),
    ".SH SEE ALSO",
    ".BR ocid (8),",
    ".BR containers\\-registries.conf (5),",
    ".BR containers\\-storage.conf (5)",
  ]);
}

function page(name: string, section: number, description: string, lines: readonly string[]): string {
  return [
    `.TH ${name.toUpperCase()} ${section}`,
    ".SH NAME",
    `${text(name)} \\- ${text(description.replace(/\.$/, ""))}`,
    ...lines,
    "",
  ].join("\n");
}

function commandLines(command: CommandSpec, above: readonly string[]): string[] {
  const path = [...above, command.name];
  return [
    `.SS ${text([...path, command.usage].join(" ").trim())}`,
    text(command.description),
    ...command.options.flatMap(optionLines),
    ...command.commands.flatMap(child => commandLines(child, path)),
  ];
}

function optionLines({ flags, description }: OptionSpec): string[] {
  return [".TP", `.B ${text(flags)}`, text(description)];
}

/** Text as roff shows it: backslashes and dashes are special, and so are a dot or a quote at the beginning. */
function text(value: string): string {
  const escaped = value.replaceAll("\\", "\\e").replaceAll("-", "\\-");
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}
