import { parseArgs } from "node:util";
import { OcidError } from "@ocid/base";
import { type Setting, settings } from "./config/config-schema.ts";
import { environmentName, type Flags } from "./config/load-config.ts";

const withFlag = (settings as readonly Setting[]).filter(setting => setting.flag !== undefined);

export interface CommandLine {
  readonly flags: Flags;
  /** `["config", …]`, or empty for the daemon itself. What `ocid config` shows may be asked by flag or by word. */
  readonly words: readonly string[];
  readonly help: boolean;
  readonly version: boolean;
}

const configViews = ["default", "schema", "json"] as const;

/** Reads the command line; unknown flags and stray words are INVALID_ARGUMENT. */
export function parseFlags(argv: readonly string[]): CommandLine {
  const options = Object.fromEntries(
    withFlag.map(setting => [
      setting.flag,
      { type: "string" as const, multiple: setting.type === "strings" },
    ]),
  );
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        ...options,
        ...Object.fromEntries(configViews.map(view => [view, { type: "boolean" as const }])),
        config: { type: "string" },
        help: { type: "boolean", short: "h" },
        version: { type: "boolean", short: "v" },
      },
      strict: true,
    });
    const { help, version, ...rest } = values as Record<string, string | string[] | boolean | undefined>;
    const views = configViews.filter(view => rest[view] === true);
    if (positionals[0] !== "config" && (positionals.length > 0 || views.length > 0))
      throw new Error(`Unexpected argument '${positionals[0] ?? `--${views[0]}`}'`);
    return {
      flags: Object.fromEntries(
        Object.entries(rest).filter(([name]) => !(configViews as readonly string[]).includes(name)),
      ) as Flags,
      words: [...positionals, ...views],
      help: help === true,
      version: version === true,
    };
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
    "       ocid config [--default | --schema | --json | validate [FILE]]   (ocid config --help)",
    "",
    ...rows.map(([flag = "", meaning]) => `  ${flag.padEnd(width)}  ${meaning}`),
    "",
    `environment: every setting, such as ${environmentName("server.listen")} for server.listen (ocid config lists them);`,
    "  CONTAINERS_REGISTRIES_CONF, CONTAINERS_STORAGE_CONF, REGISTRY_AUTH_FILE as in the other containers tools",
    "SIGHUP reads the configuration again; SIGTERM stops the daemon and leaves the containers running.",
    "",
  ].join("\n");
}

function valueName(setting: Setting): string {
  if (setting.type === "integer") return "N";
  return setting.key.endsWith("dir") || setting.key.endsWith("root") || setting.key.endsWith("dirs")
    ? "DIR"
    : "VALUE";
}
