import { parseArgs } from "node:util";
import { OcidError } from "@ocid/base";
import type { Flags } from "./config.ts";
import { type Setting, settings } from "./config-schema.ts";

const withFlag = (settings as readonly Setting[]).filter(setting => setting.flag !== undefined);

/** Reads the command line; unknown flags and stray words are INVALID_ARGUMENT. */
export function parseFlags(
  argv: readonly string[],
): Flags & { readonly help?: string; readonly version?: string } {
  const options = Object.fromEntries(
    withFlag.map(setting => [
      setting.flag,
      { type: "string" as const, multiple: setting.type === "strings" },
    ]),
  );
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        ...options,
        config: { type: "string" },
        help: { type: "boolean", short: "h" },
        version: { type: "boolean", short: "v" },
      },
      strict: true,
    });
    return Object.fromEntries(
      Object.entries(values).map(([name, value]) => [name, typeof value === "boolean" ? "true" : value]),
    ) as Flags;
  } catch (error) {
    throw new OcidError("INVALID_ARGUMENT", `${(error as Error).message.split(". ")[0]} (see ocid --help)`, {
      cause: error,
    });
  }
}

export function helpText(): string {
  const rows = [
    ["--config FILE", "TOML configuration (default /etc/ocid/ocid.conf where it exists)"],
    ...withFlag.map(setting => [
      `--${setting.flag} ${setting.choices ? setting.choices.join("|") : valueName(setting)}`,
      setting.meaning,
    ]),
    ["--version", "print the version"],
  ];
  const width = Math.max(...rows.map(([flag = ""]) => flag.length));
  return [
    "Serves the Kubernetes Container Runtime Interface.",
    "",
    "usage: ocid [flags]",
    "",
    ...rows.map(([flag = "", meaning]) => `  ${flag.padEnd(width)}  ${meaning}`),
    "",
    "environment: CONTAINERS_REGISTRIES_CONF, CONTAINERS_STORAGE_CONF, REGISTRY_AUTH_FILE as in the other containers tools",
    "SIGTERM stops the daemon and leaves the containers running.",
    "",
  ].join("\n");
}

function valueName(setting: Setting): string {
  if (setting.type === "integer") return "N";
  return setting.key.endsWith("dir") || setting.key.endsWith("root") || setting.key.endsWith("dirs")
    ? "DIR"
    : "VALUE";
}
