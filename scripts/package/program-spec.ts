import { createProgram } from "../../apps/ocic/src/program.ts";
import { type Setting, settings } from "../../apps/ocid/src/config/config-schema.ts";

/** A program or one of its commands, as man pages and completions need it. */
export interface CommandSpec {
  readonly name: string;
  readonly description: string;
  /** What follows the name, such as `<image> [destination]`. */
  readonly usage: string;
  readonly options: readonly OptionSpec[];
  readonly commands: readonly CommandSpec[];
}

export interface OptionSpec {
  /** With its value, such as `-f, --format <format>`. */
  readonly flags: string;
  readonly short?: string | undefined;
  readonly long: string;
  readonly description: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

/** The part of commander's Command that is read here. */
type Program = Awaited<ReturnType<typeof createProgram>>;

/** `ocic` as its own program describes it. Options that every command takes are only the program's. */
export async function ocicSpec(): Promise<CommandSpec> {
  const program = await createProgram([]);
  const common = new Set(program.options.map(option => option.long));
  return specOf(program, option => !common.has(option), program.options.map(optionOf));
}

function specOf(
  command: Program["commands"][number],
  isOwn: (long: string | undefined) => boolean,
  options: readonly OptionSpec[] = command.options
    .filter(option => isOwn(option.long ?? undefined))
    .map(optionOf),
): CommandSpec {
  return {
    name: command.name(),
    description: command.description(),
    usage: command.registeredArguments
      .map(argument => {
        const word = `${argument.name()}${argument.variadic ? "..." : ""}`;
        return argument.required ? `<${word}>` : `[${word}]`;
      })
      .join(" "),
    options,
    commands: command.commands.map(child => specOf(child, isOwn)),
  };
}

function optionOf(option: Program["options"][number]): OptionSpec {
  return {
    flags: option.flags,
    short: option.short ?? undefined,
    long: option.long ?? option.flags,
    description: option.description,
    takesValue: option.required || option.optional,
    choices: option.argChoices ?? [],
  };
}

/** `ocid` as its settings describe it. */
export function ocidSpec(): CommandSpec {
  const plain = (long: string, description: string): OptionSpec => ({
    flags: long,
    long,
    description,
    takesValue: false,
    choices: [],
  });
  const file: OptionSpec = {
    ...plain("--config", "TOML configuration (default /etc/ocid/ocid.conf where it exists)"),
    flags: "--config <file>",
    takesValue: true,
  };
  const flags = (settings as readonly Setting[])
    .filter(setting => setting.flag !== undefined)
    .map(setting => ({
      ...plain(`--${setting.flag}`, setting.meaning),
      flags: `--${setting.flag} <${setting.choices?.join("|") ?? "value"}>`,
      takesValue: true,
      choices: setting.choices ?? [],
    }));
  return {
    name: "ocid",
    description: "Serves the Kubernetes Container Runtime Interface.",
    usage: "",
    options: [file, ...flags, plain("--help", "say how to use it"), plain("--version", "print the version")],
    commands: [
      {
        name: "config",
        description: "tell about the configuration, and start nothing",
        usage: "",
        options: [
          plain("--default", "the configuration of a daemon that nobody has configured"),
          plain("--json", "the effective values and where they come from, as JSON"),
          plain("--schema", "a JSON Schema of the file, for editors"),
        ],
        commands: [
          {
            name: "validate",
            description: "say each mistake with its file and line",
            usage: "[file]",
            options: [],
            commands: [],
          },
        ],
      },
    ],
  };
}
