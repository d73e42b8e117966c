import { Command } from "commander";
import { addArtifactCommands } from "./commands/artifact.ts";
import { addChangesCommands } from "./commands/changes.ts";
import { addDaemonCommands } from "./commands/daemon.ts";
import { addImageCommands } from "./commands/images.ts";
import { addLoginCommands } from "./commands/login.ts";
import { addMountCommands } from "./commands/mount.ts";
import { addPodCommands } from "./commands/pods.ts";
import { addRunCommand } from "./commands/run.ts";
import { addSessionCommands } from "./commands/sessions.ts";
import { addStorageCommands } from "./commands/storage.ts";
import { addSyncCommand } from "./commands/sync.ts";
import { addTagCommands } from "./commands/tags.ts";
import { addTransferCommands } from "./commands/transfer.ts";
import { addUsageCommands } from "./commands/usage.ts";
import { addVerifyCommand } from "./commands/verify.ts";
import { addVersionCommand } from "./commands/version.ts";

export function createProgram(): Command {
  const program = new Command("ocic")
    .description("Images with or without the daemon; pods and containers over its socket.")
    .enablePositionalOptions()
    .option("--root <dir>", "the store's graph root (then images are handled without the daemon)")
    .option("--runroot <dir>", "the store's run root")
    .option("--runtime-endpoint <socket>", "the daemon's socket (default /run/ocid/ocid.sock)")
    .option("--json", "answer for programs")
    .option("--tls-verify <bool>", "false accepts plain HTTP and any certificate")
    .option("--creds <user:password>", "credentials for the registry")
    .option("--authfile <path>", "the only file to take credentials from")
    .option("--platform <os/arch[/variant]>", "which image of an index")
    .option("--override-os <os>", "operating system instead of this machine's")
    .option("--override-arch <arch>", "architecture instead of this machine's")
    .option("--override-variant <variant>", "variant of the architecture")
    .exitOverride()
    .showHelpAfterError("(ocic --help lists the commands)");
  addImageCommands(program);
  addTransferCommands(program);
  addSyncCommand(program);
  addVerifyCommand(program);
  addTagCommands(program);
  addArtifactCommands(program);
  addLoginCommands(program);
  addMountCommands(program);
  addChangesCommands(program);
  addStorageCommands(program);
  addRunCommand(program);
  addPodCommands(program);
  addSessionCommands(program);
  addUsageCommands(program);
  addDaemonCommands(program);
  addVersionCommand(program);
  acceptAfterwards(program, program.commands);
  return program;
}

/** Flags may stand after the command too. */
function acceptAfterwards(program: Command, commands: readonly Command[]): void {
  for (const command of commands) {
    for (const option of program.options)
      if (!command.options.some(own => own.long === option.long)) command.addOption(option);
    acceptAfterwards(program, command.commands);
  }
}
