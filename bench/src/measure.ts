import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** What a command took: seconds on the clock, and of processors with everything that it started. */
export interface Cost {
  readonly wallS: number;
  readonly cpuS: number;
}

/** Runs a program to its end and measures it; a failure shows its output. */
export function measure(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = process.env,
): Cost {
  const before = childrenCpu();
  const start = performance.now();
  const result = spawnSync(program, args, { encoding: "utf8", env: { ...env }, maxBuffer: 1 << 26 });
  const wallS = (performance.now() - start) / 1000;
  if (result.status !== 0)
    throw new Error(`${program} ${args.join(" ")} failed: ${result.stderr || result.error?.message}`);
  return { wallS, cpuS: childrenCpu() - before };
}

/** Processor time of all children that have been waited for, in seconds (proc(5), fields 16 and 17; ticks of 10 ms). */
function childrenCpu(): number {
  const fields = readFileSync("/proc/self/stat", "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[13]) + Number(fields[14])) / 100;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
