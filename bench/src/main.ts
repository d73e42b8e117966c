import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { benchCopy, benchRepull } from "./bench-copy.ts";
import { benchDaemon } from "./bench-daemon.ts";
import { benchExec } from "./bench-exec.ts";
import { benchGrowth } from "./bench-growth.ts";
import { inputs } from "./bench-inputs.ts";
import { benchList } from "./bench-list.ts";
import { benchPull } from "./bench-pull.ts";
import { benchStart } from "./bench-start.ts";
import { drawPlot } from "./plot.ts";
import { formatReport, formatVerdicts, judge, type WorkReport } from "./report.ts";
import { type Effort, openWorkPlace, type Programs, peer, type WorkPlace } from "./work-place.ts";

// `npm run bench`, `npm run bench -- pull start --rounds 5`, `npm run bench -- pull:typical pull:zstd`, `-- --quick`.
const repository = join(import.meta.dirname, "../..");
const results = join(repository, "bench/results");
const programs: Programs = {
  ocic: join(repository, "apps/ocic/dist/ocic"),
  ocid: join(repository, "apps/ocid/dist/ocid"),
};

type Bench = (place: WorkPlace, effort: Effort) => Promise<readonly WorkReport[]>;

const benches: Readonly<Record<string, Bench>> = {
  pull: (place, { rounds }) => benchPull(place, programs, rounds),
  ...Object.fromEntries(
    Object.keys(inputs).map((name): [string, Bench] => [
      `pull:${name}`,
      (place, { rounds }) => benchPull(place, programs, rounds, [name]),
    ]),
  ),
  repull: (place, { rounds }) => benchRepull(place, programs, rounds),
  copy: (place, { rounds }) => benchCopy(place, programs, rounds),
  start: (place, { rounds }) => benchStart(place, programs, rounds),
  exec: (place, { rounds }) => benchExec(place, programs, rounds),
  list: (place, effort) => benchList(place, programs, effort),
  daemon: (place, { rounds }) => benchDaemon(place, programs, rounds),
  growth: (place, effort) => benchGrowth(place, programs, effort),
};

const args = process.argv.slice(2);
const quick = args.includes("--quick");
const roundsAt = args.indexOf("--rounds");
const rounds = roundsAt === -1 ? (quick ? 2 : 5) : Number(args[roundsAt + 1]);
const words = args.filter((word, at) => !word.startsWith("--") && (roundsAt === -1 || at !== roundsAt + 1));
const all = Object.keys(benches).filter(name => !name.includes(":"));
const unknown = words.find(name => !(name in benches));
if (unknown !== undefined || !(rounds >= 1)) {
  console.error(
    `bench: no work ${unknown ?? `of ${rounds} rounds`} (there are ${Object.keys(benches).join(", ")})`,
  );
  process.exit(2);
}

mkdirSync(results, { recursive: true });
for (const helper of ["pigz", "igzip"])
  console.log(`${helper} in PATH, which changes what peers do: ${peer(helper) ? "yes" : "no"}`);
for (const name of ["skopeo", "podman", "containerd", "ctr", "runc"])
  if (!peer(name)) console.log(`${name} is not here: not measured (BENCH_${name.toUpperCase()} can name it)`);

const reports: WorkReport[] = [];
const failed: string[] = [];
{
  await using place = await openWorkPlace();
  for (const name of words.length > 0 ? words : all) {
    console.log(`\n${name}: from ${new Date().toISOString()}`);
    try {
      for (const report of await benches[name]!(place, { rounds, quick })) {
        reports.push(report);
        if (report.plot) writeFileSync(join(results, `growth-${name}.svg`), drawPlot(report.plot));
        console.log(`\n${formatReport(report)}`);
      }
    } catch (error) {
      // What the other works have to say is not lost.
      failed.push(name);
      console.error(`bench ${name} failed: ${error instanceof Error ? error.stack : error}`);
    }
    writeFileSync(
      join(results, "latest.json"),
      `${JSON.stringify(
        reports.map(report => ({ ...report, goals: judge(report) })),
        null,
        2,
      )}\n`,
    );
  }
}
console.log(`\n${formatVerdicts(reports)}`);
if (failed.length > 0) {
  console.error(`without a result: ${failed.join(", ")}`);
  process.exitCode = 1;
}
