import { median } from "./measure.ts";

/** One contestant's runs at a piece of work, in the order of the rounds. */
export interface Series {
  readonly name: string;
  readonly wallS: readonly number[];
  readonly cpuS: readonly (number | undefined)[];
}

export interface WorkReport {
  readonly work: string;
  readonly series: readonly Series[];
}

/** Medians, spread, and our ratio to each peer: the median of the ratios within a round, because rounds differ. */
export function formatReport({ work, series }: WorkReport): string {
  const [ours, ...peers] = series;
  const rows = series.map(({ name, wallS, cpuS }) => {
    const cpu = cpuS.filter(value => value !== undefined);
    return `  ${name.padEnd(34)} wall ${seconds(median(wallS))} (${seconds(Math.min(...wallS))} to ${seconds(Math.max(...wallS))})${cpu.length > 0 ? `   cpu ${seconds(median(cpu))}` : ""}`;
  });
  const ratios = peers.map(peer => {
    const wall = median(ours!.wallS.map((value, round) => value / peer.wallS[round]!));
    const pairs = ours!.cpuS.flatMap((value, round) =>
      value !== undefined && peer.cpuS[round] ? [value / peer.cpuS[round]!] : [],
    );
    return `  ${ours!.name} / ${peer.name}: wall ${wall.toFixed(2)}${pairs.length > 0 ? `, cpu ${median(pairs).toFixed(2)}` : ""}`;
  });
  return [work, ...rows, ...ratios, ""].join("\n");
}

function seconds(value: number): string {
  return value < 1 ? `${(value * 1000).toFixed(0)} ms` : `${value.toFixed(2)} s`;
}
