import { Command } from "commander";
import { version } from "./version.ts";

type AddCommands = (program: Command) => void;

interface CommandGroup {
  readonly commands: readonly string[];
  readonly load: () => Promise<AddCommands>;
}

/** In the order in which help shows them. Each is loaded when the command line has one of its words: a start is mostly loading. */
const groups: readonly CommandGroup[] = [
  {
    commands: ["pull", "images", "rmi"],
    load: async () => (await import("./commands/images.ts")).addImageCommands,
  },
  {
    commands: ["copy", "push", "import"],
    load: async () => (await import("./commands/transfer.ts")).addTransferCommands,
  },
  { commands: ["inspect"], load: async () => (await import("./commands/inspect.ts")).addInspectCommand },
  { commands: ["ls", "cat", "diff"], load: async () => (await import("./commands/look.ts")).addLookCommands },
  { commands: ["sync"], load: async () => (await import("./commands/sync.ts")).addSyncCommand },
  { commands: ["verify"], load: async () => (await import("./commands/verify.ts")).addVerifyCommand },
  { commands: ["sign"], load: async () => (await import("./commands/sign.ts")).addSignCommand },
  { commands: ["tags", "delete"], load: async () => (await import("./commands/tags.ts")).addTagCommands },
  { commands: ["artifact"], load: async () => (await import("./commands/artifact.ts")).addArtifactCommands },
  { commands: ["login", "logout"], load: async () => (await import("./commands/login.ts")).addLoginCommands },
  { commands: ["mount", "umount"], load: async () => (await import("./commands/mount.ts")).addMountCommands },
  {
    commands: ["changes", "commit"],
    load: async () => (await import("./commands/changes.ts")).addChangesCommands,
  },
  { commands: ["storage"], load: async () => (await import("./commands/storage.ts")).addStorageCommands },
  { commands: ["run"], load: async () => (await import("./commands/run.ts")).addRunCommand },
  {
    commands: ["pods", "ps", "logs", "exec", "stop", "rm"],
    load: async () => (await import("./commands/pods.ts")).addPodCommands,
  },
  {
    commands: ["attach", "port-forward"],
    load: async () => (await import("./commands/sessions.ts")).addSessionCommands,
  },
  {
    commands: ["stats", "statsp", "metrics", "metricdescs"],
    load: async () => (await import("./commands/usage.ts")).addUsageCommands,
  },
  {
    commands: ["info", "events", "checkpoint", "update-runtime-config"],
    load: async () => (await import("./commands/daemon.ts")).addDaemonCommands,
  },
  { commands: ["top"], load: async () => (await import("./commands/top.ts")).addTopCommand },
  { commands: ["doctor"], load: async () => (await import("./commands/doctor.ts")).addDoctorCommand },
  { commands: ["version"], load: async () => (await import("./commands/version.ts")).addVersionCommand },
];

/** The program with the commands that the words may mean; with all where they name none, as for help. */
export async function createProgram(words: readonly string[]): Promise<Command> {
  const program = new Command("ocic")
    .description("Images with or without the daemon; pods and containers over its socket.")
    .version(version, "--version", "print the version")
    .enablePositionalOptions()
    .option("--root <dir>", "the store's graph root (then images are handled without the daemon)")
    .option("--runroot <dir>", "the store's run root")
    .option("--imagestore <dir>", "a graph root of its own for images and their layers")
    .option("--runtime-endpoint <socket>", "the daemon's socket (default /run/ocid/ocid.sock)")
    .option("--json", "answer for programs")
    .option("--tls-verify <bool>", "false accepts plain HTTP and any certificate")
    .option("--creds <user:password>", "credentials for the registry")
    .option("--authfile <path>", "the only file to take credentials from")
    .option("--policy <file>", "policy.json that images must satisfy (default: the containers tools' own)")
    .option("--platform <os/arch[/variant]>", "which image of an index")
    .option("--override-os <os>", "operating system instead of this machine's")
    .option("--override-arch <arch>", "architecture instead of this machine's")
    .option("--override-variant <variant>", "variant of the architecture")
    .exitOverride()
    .showHelpAfterError("(ocic --help lists the commands)");
  const named = groups.filter(({ commands }) => commands.some(name => words.includes(name)));
  for (const { load } of named.length > 0 ? named : groups) (await load())(program);
  acceptAfterwards(program, program.commands);
  return program;
}

/** Flags may stand after the command too. */
function acceptAfterwards(program: Command, commands: readonly Command[]): void {
  for (const command of commands) {
    for (const option of program.options)
      if (option.long !== "--version" && !command.options.some(own => own.long === option.long))
        command.addOption(option);
    acceptAfterwards(program, command.commands);
  }
}
