import type { Diagnosis } from "../finding.ts";
import type { NodeProcess } from "../processes.ts";

/** Mistakes in the configuration, as `ocid config validate` tells them. */
export function configFindings(mistakes: readonly string[]): readonly Diagnosis[] {
  return mistakes.map(what => ({
    kind: "config",
    severity: "problem",
    what,
    why: "the daemon does not start with it, and a running one does not take it over",
    remedy: "correct the place that is named; ocid config validate says whether it is right",
  }));
}

export function daemonFindings(stateDir: string, daemons: readonly NodeProcess[]): readonly Diagnosis[] {
  if (daemons.length < 2) return [];
  return [
    {
      kind: "two-daemons",
      severity: "problem",
      what: `${daemons.length} daemons use ${stateDir}: pids ${daemons.map(({ pid }) => pid).join(", ")}`,
      why: "each removes what the other has just made and has not told it of",
      remedy: "stop all but one, or give each its own --state-dir, --listen and --runroot",
    },
  ];
}
