import { rmSync } from "node:fs";
import { join } from "node:path";
import { filesOfSize, makeInput } from "./bench-inputs.ts";
import { runRounds } from "./bench-pull.ts";
import { pullers } from "./contestants.ts";
import { measure } from "./measure.ts";
import type { WorkReport } from "./report.ts";
import { median } from "./statistics.ts";
import type { Effort, Programs, WorkPlace } from "./work-place.ts";

const sizes = [12_500, 25_000, 50_000, 100_000, 200_000];

/** One layer with ever more files: the cost of a file must not grow with their number. */
export async function benchGrowth(
  place: WorkPlace,
  programs: Programs,
  { quick }: Effort,
): Promise<readonly WorkReport[]> {
  const [ours] = pullers(programs, place);
  const measured = quick ? sizes.slice(0, 3) : sizes;
  const points: (readonly [number, number])[] = [];
  const rss: number[] = [];
  for (const size of measured) {
    const layout = join(place.inputs, `files-${size}`);
    await makeInput(layout, filesOfSize(size));
    const image = `${place.registry.host}/bench/files-${size}:1`;
    await measure(
      programs.ocic,
      ["--tls-verify=false", "copy", `oci:${layout}:bench`, `docker://${image}`],
      place.env,
    );
    rmSync(layout, { recursive: true });
    const costs = (await runRounds(place, [ours!], image, 2))[0]!;
    points.push([size, median(costs.map(({ cpu }) => cpu))]);
    rss.push(median(costs.map(cost => cost.rss)));
  }
  // The slope of the last part beside that of the whole: 1 is a straight line, 2 would be quadratic.
  const slope = (from: number, to: number) =>
    (points[to]![1] - points[from]![1]) / (points[to]![0] - points[from]![0]);
  const last = points.length - 1;
  const bend = slope(last - 1, last) / slope(0, last);
  return [
    {
      work: `growth: one layer of ${measured.map(size => size.toLocaleString("en")).join(", ")} files`,
      series: [
        {
          name: ours!.name,
          metrics: { cpu: points.map(([, cpu]) => cpu), "bend of the curve": [bend], rss },
        },
      ],
      goals: [
        { metric: "bend of the curve", atMost: 1.3 },
        { metric: "rss", share: 1, atMost: 150 },
      ],
      plot: {
        title: "pull of one layer",
        x: "files",
        y: "s of processor",
        curves: [{ name: ours!.name, points }],
      },
    },
  ];
}
