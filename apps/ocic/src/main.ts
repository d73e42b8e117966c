import { messageOf } from "@ocid/base";
import { CommanderError } from "commander";
import { ExitWith, exitCodeOf } from "./exit-code.ts";
import { printError } from "./output/output.ts";
import { createProgram } from "./program.ts";

async function main(argv: readonly string[]): Promise<number> {
  try {
    const program = await createProgram(argv);
    await program.parseAsync([...argv], { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof ExitWith) return error.code;
    // Commander has said already what is wrong.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    printError(`ocic: ${messageOf(error)}`);
    return exitCodeOf(error);
  }
}

void main(process.argv.slice(2)).then(code => process.exit(code));
