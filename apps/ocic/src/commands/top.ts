import { setTimeout as sleep } from "node:timers/promises";
import { OcidError } from "@ocid/base";
import type { Command } from "commander";
import { cancellation } from "../cancellation.ts";
import { type GlobalOptions, runtimeClient } from "../global-options.ts";
import { print, printResult } from "../output/output.ts";
import { frame } from "../top/frame.ts";
import { readCounters } from "../top/sample.ts";
import { type SortKey, sortKeys, UseHistory } from "../top/usage.ts";

/** As many looks as a plot shows. */
const kept = 5;

interface TopFlags {
  readonly once?: boolean;
  readonly seconds: string;
  readonly sort: string;
}

export function addTopCommand(program: Command): void {
  program
    .command("top")
    .description("what pods use, again and again until it is interrupted")
    .option("--once", "one picture; so is --json")
    .option("--seconds <n>", "time from one look to the next", "1")
    .option("--sort <by>", Object.keys(sortKeys).join(", "), "cpu")
    .action(async (flags: TopFlags, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const { sort } = flags;
      const seconds = Number(flags.seconds);
      if (!Object.hasOwn(sortKeys, sort))
        throw new OcidError(
          "INVALID_ARGUMENT",
          `--sort should be one of ${Object.keys(sortKeys).join(", ")}`,
        );
      if (!(seconds >= 0.1 && seconds <= 3600))
        throw new OcidError("INVALID_ARGUMENT", "--seconds should be between 0.1 and 3600");
      using client = await runtimeClient(options);
      const signal = cancellation();
      const history = new UseHistory(kept);
      history.add(await readCounters(client));
      const once = flags.once || options.json || !process.stdout.isTTY;
      // Each picture is written over the last, so that nothing flickers; the rest of the screen is cleared first.
      if (!once) print("\x1b[2J\x1b[?25l");
      try {
        do {
          await sleep(seconds * 1000, undefined, { signal });
          const uses = history.add(await readCounters(client));
          const lines = () => frame(uses, { ...screen(once), sort: sort as SortKey });
          if (once)
            printResult(
              options.json ?? false,
              uses.map(use => use.at(-1)),
              () => `${lines().join("\n")}\n`,
            );
          else
            print(
              `\x1b[H${lines()
                .map(line => `${line}\x1b[K`)
                .join("\r\n")}\x1b[J`,
            );
        } while (!once);
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        if (!once) print("\x1b[?25h\n");
      }
    });
}

function screen(all: boolean): { readonly columns: number; readonly rows: number } {
  const { columns = 80, rows = 24 } = process.stdout;
  return { columns, rows: all ? Number.POSITIVE_INFINITY : rows };
}
