import { messageOf, OcidError } from "@ocid/base";
import { defaultConfigFile } from "./config/config-files.ts";
import { defaultConfig } from "./config/config-schema.ts";
import { configJsonSchema } from "./config/json-schema.ts";
import { type ConfigSources, loadConfig, readConfig } from "./config/load-config.ts";
import { configAsJson, printConfig } from "./config/print-config.ts";

export const configHelp = [
  "usage: ocid config [--default | --schema | --json] [--config FILE] [other flags of ocid]",
  "       ocid config validate [FILE]",
  "",
  "  (none)      the effective configuration as TOML, with where each value comes from",
  "  --default   the configuration of a daemon that nobody has configured",
  "  --json      the effective values and where they come from, as JSON",
  "  --schema    a JSON Schema of the file, for editors",
  "  validate    says each mistake with its file and line; exit code 1 when there is one",
  "",
].join("\n");

export interface ConfigCommandResult {
  readonly output: string;
  readonly exitCode: number;
}

/** `ocid config …`: tells about the configuration, starts nothing. */
export async function configCommand(
  words: readonly string[],
  sources: ConfigSources,
): Promise<ConfigCommandResult> {
  const [word, file, ...rest] = words;
  if (rest.length > 0 || (word !== "validate" && file !== undefined))
    throw new OcidError("INVALID_ARGUMENT", `ocid config does not take ${JSON.stringify(words.join(" "))}`);
  switch (word) {
    case "validate":
      return await validate(file === undefined ? sources : { ...sources, flags: { config: file } });
    case "default":
      return good(printConfig({ config: defaultConfig, origins: new Map() }));
    case "schema":
      return good(`${JSON.stringify(configJsonSchema(), undefined, 2)}\n`);
    case "json":
      return good(`${JSON.stringify(configAsJson(await loadConfig(sources)), undefined, 2)}\n`);
    case undefined:
      return good(printConfig(await loadConfig(sources)));
    default:
      throw new OcidError("INVALID_ARGUMENT", `ocid config ${word} is not known\n${configHelp}`);
  }
}

async function validate(sources: ConfigSources): Promise<ConfigCommandResult> {
  const file = sources.flags?.["config"] ?? defaultConfigFile;
  try {
    const { problems } = await readConfig(sources);
    if (problems.length === 0) return good(`${file}: good\n`);
    return { output: problems.map(({ place, message }) => `${place}: ${message}\n`).join(""), exitCode: 1 };
  } catch (error) {
    return { output: `${messageOf(error)}\n`, exitCode: 1 };
  }
}

function good(output: string): ConfigCommandResult {
  return { output, exitCode: 0 };
}
