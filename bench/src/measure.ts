import { spawn } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

/** What a command took. */
export interface Cost {
  /** Seconds on the clock. */
  readonly wall: number;
  /** Seconds of processors, user and system, with everything that it started and waited for. */
  readonly cpu: number;
  /** MB of memory that the program itself had at most, looked at each 10 ms. */
  readonly rss: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Runs a program to its end and measures it; a failure shows its output. */
export async function measure(
  program: string,
  args: readonly string[],
  env: Environment = process.env,
): Promise<Cost> {
  const before = childrenCpu();
  const start = performance.now();
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"], env: { ...env } });
  let said = "";
  child.stderr.on("data", chunk => {
    said = (said + chunk).slice(-8_000);
  });
  let rss = 0;
  const watch = setInterval(() => {
    rss = Math.max(rss, memoryPeak(child.pid));
  }, 10);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    const wall = (performance.now() - start) / 1000;
    if (code !== 0) throw new Error(`${program} ${args.join(" ")} failed: ${said}`);
    return { wall, cpu: childrenCpu() - before, rss };
  } finally {
    clearInterval(watch);
  }
}

/** Makes `memoryPeak` begin anew (proc(5), clear_refs). */
export function resetMemoryPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

/** MB of memory that a process had at most. */
export function memoryPeak(pid: number | undefined): number {
  try {
    return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1000;
  } catch {
    return 0;
  }
}

const ticks = 100;

/** Processor seconds of all children that have been waited for (proc(5), stat, fields 16 and 17; ticks of 10 ms). */
function childrenCpu(): number {
  const fields = statOf("self");
  return (Number(fields[13]) + Number(fields[14])) / ticks;
}

/** Processor seconds that a process itself has had, without its children. */
export function ownCpu(pid: number): number {
  const fields = statOf(pid);
  return (Number(fields[11]) + Number(fields[12])) / ticks;
}

function statOf(pid: number | "self"): readonly string[] {
  return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
}

/** MB of a process: what only it has and has written to, its proportional share, and all that is mapped. */
export function memoryOf(pid: number): {
  readonly privateDirty: number;
  readonly pss: number;
  readonly rss: number;
} {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0) / 1000;
  return { privateDirty: field("Private_Dirty"), pss: field("Pss"), rss: field("Rss") };
}

/** Processes whose command line has a text in it. */
export function processesWith(text: string): readonly number[] {
  return readdirSync("/proc")
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text);
      } catch {
        return false;
      }
    })
    .map(Number);
}
