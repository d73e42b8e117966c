import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { randomFrom } from "@ocid/testkit";
import { filesOfSize, makeInput } from "../bench-inputs.ts";
import { type Daemon, pushBusybox, removePods, startDaemon } from "../daemon.ts";
import { measure } from "../measure.ts";
import { drawPlot } from "../plot.ts";
import { openWorkPlace, type Programs } from "../work-place.ts";
import { type Actor, createActor } from "./actor.ts";
import { drawCourses, growthOf, measures, type Sample, takeSample } from "./sample.ts";

// `npm run soak -- --minutes 20 --seed 7`: uses a node at random, kills the daemon now and then, and looks in between
// whether anything has grown. Ends with 1 when something has, or when a call failed that should not.

const actorCount = 3;
const cycleMs = 12_000;
/** Of the time, the share in which the daemon is killed; after it one daemon gets old. */
const killedShare = 0.6;

const argument = (name: string, otherwise: number) => {
  const at = process.argv.indexOf(`--${name}`);
  return at === -1 ? otherwise : Number(process.argv[at + 1]);
};
const minutes = argument("minutes", 20);
const seed = argument("seed", Math.floor(Math.random() * 1e6));
if (!(minutes > 0) || !Number.isInteger(seed)) {
  console.error("soak: --minutes wants a number above 0, --seed a whole one");
  process.exit(2);
}

const repository = join(import.meta.dirname, "../../..");
const results = join(repository, "bench/results");
const programs: Programs = {
  ocic: join(repository, "apps/ocic/dist/ocic"),
  ocid: join(repository, "apps/ocid/dist/ocid"),
};
console.log(`soak: ${minutes} minutes, --seed ${seed}`);

const random = randomFrom(seed);
const failures: string[] = [];
const samples: Sample[] = [];
const counts = new Map<string, number>();
let kills = 0;
{
  await using place = await openWorkPlace();
  const directory = join(place.path, "node");
  const logs = join(place.path, "logs");
  const images = [await pushBusybox(place, programs)];
  for (const entries of [200, 700]) {
    const layout = join(place.inputs, `soak-${entries}`);
    await makeInput(layout, filesOfSize(entries));
    images.push(`${place.registry.host}/soak/files-${entries}:1`);
    const target = `docker://${images.at(-1)}`;
    await measure(programs.ocic, ["--tls-verify=false", "copy", `oci:${layout}:bench`, target], place.env);
    rmSync(layout, { recursive: true });
  }
  let daemon: Daemon = await startDaemon(place, programs, directory);
  try {
    const actors: readonly Actor[] = Array.from({ length: actorCount }, (_, at) =>
      createActor({
        name: `actor-${at}`,
        random: randomFrom(seed + 1 + at),
        daemon: () => daemon,
        images,
        logs,
        counts,
        onFailure(what, error) {
          failures.push(`${what}: ${error instanceof Error ? error.message : error}`);
          console.error(failures.at(-1));
        },
      }),
    );
    const start = performance.now();
    const totalMs = minutes * 60_000;
    const passed = () => performance.now() - start;
    while (passed() < totalMs) {
      await daemon.images.pullImage({ image: { image: images[0]! } });
      const ending = AbortSignal.timeout(Math.round(Math.min(cycleMs, Math.max(3_000, totalMs - passed()))));
      const acting = actors.map(actor => actor.run(ending));
      if (passed() < totalMs * killedShare && random() < 0.6) {
        await sleep(random() * cycleMs * 0.8);
        await daemon.kill();
        kills++;
        daemon = await startDaemon(place, programs, directory);
      }
      await Promise.all(acting);
      await clear(daemon);
      rmSync(logs, { recursive: true, force: true });
      mkdirSync(logs);
      await measure("sync", ["-f", place.path]);
      const at = Math.round(passed() / 1000);
      const sample = takeSample(at, daemon.pid, place.path, join(directory, "ocid.log"));
      samples.push(sample);
      console.log(
        `${at} s: ${measures.map(name => `${name} ${sample.values[name].toFixed(name.endsWith("MB") ? 1 : 0)}`).join(", ")}`,
      );
    }
  } finally {
    await clear(daemon).catch(error => failures.push(`clearing away: ${error}`));
    await daemon[Symbol.asyncDispose]();
  }
}

const grown = growthOf(samples);
mkdirSync(results, { recursive: true });
writeFileSync(
  join(results, "soak.json"),
  `${JSON.stringify({ minutes, seed, kills, counts: Object.fromEntries(counts), samples, grown, failures }, null, 2)}\n`,
);
writeFileSync(
  join(results, "soak.svg"),
  drawPlot({
    title: `soak, seed ${seed}: each measure beside its first value`,
    x: "s",
    y: "% of the first",
    curves: measures.map(name => ({
      name,
      points: samples.map(
        ({ at, values }) => [at, (100 * values[name]) / (samples[0]!.values[name] || 1)] as const,
      ),
    })),
  }),
);
console.log(`\n${drawCourses(samples)}\n`);
console.log(`${kills} kills; ${[...counts].map(([name, count]) => `${name} ${count}`).join(", ")}`);
for (const failure of failures) console.error(`failed: ${failure}`);
for (const growth of grown) console.error(`grown: ${growth}`);
if (failures.length + grown.length > 0) process.exitCode = 1;
else console.log("nothing has grown beyond the first minute");

/** Removes all pods and images, so that what is left should not be there; a container's monitor ends a moment later. */
async function clear({ runtime, images }: Daemon): Promise<void> {
  await removePods(runtime);
  for (const { id } of (await images.listImages({})).images)
    await images.removeImage({ image: { image: id } });
  await sleep(1_000);
}
