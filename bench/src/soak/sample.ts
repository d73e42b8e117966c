import { readdirSync, statfsSync, statSync } from "node:fs";
import { readNodeState } from "@ocid/testkit";
import { memoryOf } from "../measure.ts";

/** How much of each measure may come beyond the most that the first minute has seen. */
const allowances = {
  // A daemon's code is compiled, its heaps and threads come to their size, within its first minutes, not its first one.
  "private dirty MB": 32,
  "RSS MB": 48,
  // A thread that unpacks has six, and ends half a minute after the last layer.
  descriptors: 24,
  threads: 4,
  mounts: 0,
  processes: 0,
  cgroups: 0,
  "disk MB": 6,
  inodes: 40,
} as const;

const collectedLate: ReadonlySet<string> = new Set(["private dirty MB", "RSS MB"]);

export type Measure = keyof typeof allowances;

export const measures = Object.keys(allowances) as readonly Measure[];

/** What there is of everything that could grow, while there is no pod and no image. */
export interface Sample {
  /** Seconds since the start. */
  readonly at: number;
  readonly values: Readonly<Record<Measure, number>>;
}

/** `disk` is a file system on which nobody else writes, `log` the daemon's log on it. */
export function takeSample(at: number, pid: number, disk: string, log: string): Sample {
  const { privateDirty, rss } = memoryOf(pid);
  const { mounts, processes, cgroups } = readNodeState();
  const { blocks, bfree, bsize, files, ffree } = statfsSync(disk);
  return {
    at,
    values: {
      "private dirty MB": privateDirty,
      "RSS MB": rss,
      descriptors: readdirSync(`/proc/${pid}/fd`).length,
      threads: readdirSync(`/proc/${pid}/task`).length,
      mounts: mounts.length,
      processes: processes.length,
      cgroups: cgroups.length,
      "disk MB": ((blocks - bfree) * bsize - statSync(log).blocks * 512) / 1e6,
      inodes: files - ffree,
    },
  };
}

/**
 * What has grown beyond the first minute (or the first two samples), in words. Memory is collected late, so that one
 * sample says little: of five in a row the least counts, which a leak raises as well.
 */
export function growthOf(samples: readonly Sample[]): readonly string[] {
  const begun = Math.max(2, samples.filter(({ at }) => at <= 60).length);
  const [first, later] = [samples.slice(0, begun), samples.slice(begun)];
  if (later.length === 0) return [];
  return measures.flatMap(measure => {
    const values = later.map(sample => sample.values[measure]);
    const most = Math.max(...(collectedLate.has(measure) ? leastOfFive(values) : values));
    const limit = Math.max(...first.map(sample => sample.values[measure])) + allowances[measure];
    return most > limit
      ? [`${measure}: ${most.toFixed(1)}, where at most ${limit.toFixed(1)} were to be`]
      : [];
  });
}

function leastOfFive(values: readonly number[]): readonly number[] {
  const starts = Array.from({ length: Math.max(1, values.length - 4) }, (_, start) => start);
  return starts.map(start => Math.min(...values.slice(start, start + 5)));
}

const bars = "▁▂▃▄▅▆▇█";

/** One line for each measure: its course from the smallest to the largest value, and both. */
export function drawCourses(samples: readonly Sample[]): string {
  const lines = measures.map(measure => {
    const values = samples.map(sample => sample.values[measure]);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const bar = (value: number) =>
      bars[Math.round(((value - least) / (most - least || 1)) * (bars.length - 1))];
    const range = least === most ? least.toFixed(0) : `${least.toFixed(1)} to ${most.toFixed(1)}`;
    return `${measure.padEnd(18)}${values.map(bar).join("")}  ${range}`;
  });
  return lines.join("\n");
}
