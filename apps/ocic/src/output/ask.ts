import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { OcidError } from "@ocid/base";
import { printError, writeAll } from "./output.ts";

/** Asks the person at the terminal; what is `hidden` is not shown while it is typed. FAILED_PRECONDITION without a terminal. */
export async function ask(question: string, options: { readonly hidden?: boolean } = {}): Promise<string> {
  if (!process.stdin.isTTY)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `there is no terminal to ask "${question.trim()}"; give it by option, a password by --password-stdin`,
    );
  writeAll(2, Buffer.from(question));
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({
    input: process.stdin,
    output: options.hidden ? silent : process.stderr,
    terminal: true,
  });
  try {
    return await lines.question("");
  } finally {
    lines.close();
    if (options.hidden) printError("");
  }
}
