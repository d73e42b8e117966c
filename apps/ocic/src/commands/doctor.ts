import { messageOf } from "@ocid/base";
import type { Command } from "commander";
import { diagnose } from "../doctor/diagnose.ts";
import { type Diagnosis, findingOf } from "../doctor/finding.ts";
import { type DoctorOptions, findDaemon } from "../doctor/settings.ts";
import { ExitWith } from "../exit-code.ts";
import { printError, printResult } from "../output/output.ts";
import { printable } from "../output/printable.ts";
import { table } from "../output/table.ts";

/** There are problems on the node. */
const exitCode = 25;

/** What one mend makes visible (an empty cgroup, once its monitor has ended) is mended in the next round. */
const maxRounds = 4;

export function addDoctorCommand(program: Command): void {
  program
    .command("doctor")
    .description("find and explain what is wrong with this node (exit code 25 when there are problems)")
    .option("--fix", "mend what is safe to mend")
    .option("--state-dir <dir>", "the daemon's state directory, where it cannot be asked")
    .option("--config <file>", "the daemon's configuration file, where it cannot be asked")
    .action(async (flags: { fix?: boolean }, command: Command) => {
      const options = command.optsWithGlobals<DoctorOptions>();
      const daemon = await findDaemon(options);
      let found = await diagnose(daemon);
      const fixed: Diagnosis[] = [];
      for (let round = 0; flags.fix && round < maxRounds && found.some(({ fix }) => fix); round++) {
        fixed.push(...(await mend(found)));
        found = await diagnose(daemon);
      }
      const findings = found.map(findingOf);
      const mended = fixed.filter(({ what }) => !found.some(other => other.what === what)).map(findingOf);
      printResult(options.json ?? false, { findings, fixed: mended }, () => describe(findings, mended));
      if (findings.some(({ severity }) => severity === "problem")) throw new ExitWith(exitCode);
    });
}

async function mend(found: readonly Diagnosis[]): Promise<readonly Diagnosis[]> {
  const mended: Diagnosis[] = [];
  for (const diagnosis of found) {
    if (!diagnosis.fix) continue;
    try {
      await diagnosis.fix();
      mended.push(diagnosis);
    } catch (error) {
      printError(`ocic: ${printable(diagnosis.what)} stays: ${messageOf(error)}`);
    }
  }
  return mended;
}

type Findings = readonly ReturnType<typeof findingOf>[];

function describe(findings: Findings, fixed: Findings): string {
  const lines = fixed.map(({ kind, what }) => `mended ${kind}: ${printable(what)}\n`).join("");
  if (findings.length === 0) return `${lines}this node is well\n`;
  const rows = findings.flatMap(({ kind, severity, what, why, remedy, fixable }) => [
    [severity, kind, printable(what)],
    ["", "", `why: ${why}`],
    ["", "", `${fixable ? "ocic doctor --fix does" : "do"}: ${printable(remedy)}`],
  ]);
  return `${lines}${table(["severity", "kind", "what"], rows)}`;
}
