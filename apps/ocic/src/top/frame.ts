import { printable } from "../output/printable.ts";
import { formatBytes } from "../output/units.ts";
import { type PodUse, type SortKey, sortKeys } from "./usage.ts";

const bars = "▁▂▃▄▅▆▇█";

/** Values as a plot of one line, against the largest of them; `width` characters, the newest at the right. */
export function sparkline(values: readonly number[], width: number): string {
  const shown = values.slice(-width);
  const most = Math.max(...shown, 0);
  const bar = (value: number) => bars[most > 0 ? Math.round((value / most) * (bars.length - 1)) : 0]!;
  return shown.map(bar).join("").padStart(width);
}

export interface FrameOptions {
  readonly columns: number;
  readonly rows: number;
  readonly sort: SortKey;
}

const plotWidth = 5;
const headings = { cpu: "CPU", memory: "MEMORY", io: "I/O", network: "NETWORK" } as const;
const keys = Object.keys(headings) as SortKey[];
const numberWidth = 8;

/** One picture: a line for each pod, the greatest use first; no line is longer, and there are no more, than fit. */
export function frame(pods: readonly (readonly PodUse[])[], options: FrameOptions): readonly string[] {
  const { columns, rows, sort } = options;
  const value = sortKeys[sort];
  const sorted = pods.toSorted((one, other) => value(other.at(-1)!) - value(one.at(-1)!));
  const cellWidth = numberWidth + 1 + plotWidth;
  const nameWidth = Math.max(8, columns - keys.length * (cellWidth + 1));
  const titles = keys.map(
    key => ` ${(key === sort ? `${headings[key]}*` : headings[key]).padStart(cellWidth)}`,
  );
  const lines = sorted.map(history => {
    const { name, namespace } = history.at(-1)!;
    const cells = keys.map(key => {
      const plot = sparkline(history.map(sortKeys[key]), plotWidth);
      return ` ${amount(key, history.at(-1)!).padStart(numberWidth)} ${plot}`;
    });
    return fit(printable(`${namespace}/${name}`), nameWidth) + cells.join("");
  });
  const all = [fit(`POD (${pods.length})`, nameWidth) + titles.join(""), ...lines];
  return all.slice(0, Math.max(1, rows)).map(line => line.slice(0, columns));
}

function amount(key: SortKey, use: PodUse): string {
  if (key === "cpu") return `${use.cpuPercent.toFixed(1)}%`;
  const bytes = formatBytes(Math.round(sortKeys[key](use))).replace(" ", "");
  return key === "memory" ? bytes : `${bytes}/s`;
}

function fit(text: string, width: number): string {
  return (text.length > width ? `${text.slice(0, width - 1)}…` : text).padEnd(width);
}
