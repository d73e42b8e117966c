import type { Plot } from "./plot.ts";
import { median, quantile, ratioOf } from "./statistics.ts";

/** One contestant's numbers by what was measured, in the order of the rounds. */
export interface Series {
  readonly name: string;
  readonly metrics: Readonly<Record<string, readonly number[]>>;
}

/** What is wanted of our number: as it is, or as a ratio to a peer's. */
export interface Goal {
  /** Name of the series that is meant. Default: the first. */
  readonly of?: string;
  readonly metric: string;
  /** Default: the median. */
  readonly share?: number;
  /** Name of a peer's series, or `p50` for our own median. */
  readonly against?: string;
  readonly atMost?: number;
  readonly atLeast?: number;
}

export interface WorkReport {
  readonly work: string;
  /** Ours first. */
  readonly series: readonly Series[];
  readonly goals: readonly Goal[];
  /** How it grows, to be drawn. */
  readonly plot?: Plot;
}

export interface Verdict extends Goal {
  readonly value: number;
  readonly met: boolean;
}

/** Goals against peers that are not here have no verdict. */
export function judge({ series, goals }: WorkReport): readonly Verdict[] {
  const numbersOf = (wanted: string | undefined, metric: string) =>
    (wanted === undefined ? series[0] : series.find(({ name }) => name === wanted))?.metrics[metric];
  return goals.flatMap(goal => {
    const values = numbersOf(goal.of, goal.metric);
    const theirs =
      goal.against === undefined || goal.against === "p50"
        ? goal.against && values
        : numbersOf(goal.against, goal.metric);
    if (values === undefined || values.length === 0) return [];
    if (goal.against !== undefined && (theirs === undefined || theirs.length === 0)) return [];
    const share = goal.share ?? 0.5;
    const value =
      theirs === undefined
        ? quantile(values, share)
        : share === 0.5
          ? ratioOf(values, theirs)
          : quantile(values, share) / median(theirs);
    const met = value <= (goal.atMost ?? Number.POSITIVE_INFINITY) && value >= (goal.atLeast ?? 0);
    return [{ ...goal, value, met }];
  });
}

/** A table of medians with their spread, and beside each goal our number and whether it is met. */
export function formatReport(report: WorkReport): string {
  const rows = report.series.map(({ name, metrics }) => {
    const cells = Object.entries(metrics)
      .filter(([, values]) => values.length > 0)
      .map(
        ([metric, values]) =>
          `${metric} ${short(median(values))} (${short(Math.min(...values))}-${short(Math.max(...values))})`,
      );
    return `  ${name.padEnd(34)} ${cells.join("   ")}`;
  });
  const goals = judge(report).map(verdict => `    ${formatVerdict(verdict)}`);
  return [report.work, ...rows, ...goals, ""].join("\n");
}

/** All goals of a run under the works that they are about. */
export function formatVerdicts(reports: readonly WorkReport[]): string {
  const works = reports.map(report => ({ work: report.work, verdicts: judge(report) }));
  const all = works.flatMap(({ verdicts }) => verdicts);
  return [
    ...works
      .filter(({ verdicts }) => verdicts.length > 0)
      .flatMap(({ work, verdicts }) => [
        `  ${work}`,
        ...verdicts.map(verdict => `    ${formatVerdict(verdict)}`),
      ]),
    `${all.filter(({ met }) => met).length} of ${all.length} goals met`,
  ].join("\n");
}

function formatVerdict({ of, metric, share, against, atMost, atLeast, value, met }: Verdict): string {
  const what = `${of === undefined ? "" : `${of}: `}${share === undefined ? "" : `p${share * 100} of `}${metric}${against === undefined ? "" : ` / ${against}`}`;
  const wanted = atMost === undefined ? `at least ${atLeast}` : `at most ${atMost}`;
  return `${met ? "met   " : "MISSED"} ${what}: ${short(value)} (goal: ${wanted})`;
}

function short(value: number): string {
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}
