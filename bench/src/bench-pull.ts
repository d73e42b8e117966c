import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { unmountBelow } from "@ocid/testkit";
import { inputs, makeInput } from "./bench-inputs.ts";
import { startContainerd } from "./containerd.ts";
import { type Puller, pullers, startPullingDaemon } from "./contestants.ts";
import { type Cost, measure } from "./measure.ts";
import type { WorkReport } from "./report.ts";
import { type Programs, peer, type WorkPlace } from "./work-place.ts";

/** Pull and unpack each input into an empty store; every contestant in each round, programs from a cold start. */
export async function benchPull(
  place: WorkPlace,
  programs: Programs,
  rounds: number,
  wanted: readonly string[] = Object.keys(inputs),
): Promise<readonly WorkReport[]> {
  const reports: WorkReport[] = [];
  for (const name of wanted) {
    const plan = inputs[name];
    if (plan === undefined) throw new Error(`no input ${name} (there are ${Object.keys(inputs).join(", ")})`);
    const layout = join(place.inputs, name);
    const facts = await makeInput(layout, plan);
    const image = `${place.registry.host}/bench/${name}:1`;
    await measure(
      programs.ocic,
      ["--tls-verify=false", "copy", `oci:${layout}:bench`, `docker://${image}`],
      place.env,
    );
    rmSync(layout, { recursive: true });
    await using containerd = await startContainerd(join(place.path, `containerd-${name}`));
    await using daemon = await startPullingDaemon(place, programs, join(place.path, `ocid-${name}`));
    const all = [...pullers(programs, place), daemon, ...(containerd ? [containerd] : [])];
    const costs = await runRounds(place, all, image, rounds);
    // igzip, where it is found, inflates for containerd: a tuned peer, which has a goal of its own.
    const tuned = plan.compression === "gzip" && peer("igzip") !== undefined;
    const ofContainerd = { metric: "wall", against: "containerd (warm daemon)", atMost: tuned ? 0.8 : 0.45 };
    const size = `${facts.layers} layers, ${facts.entries} entries, ${(facts.compressedBytes / 1e6).toFixed(0)} MB compressed`;
    reports.push({
      work: `pull ${name}: ${size}, ${rounds} rounds`,
      series: all.map((puller, at) => ({ name: puller.name, metrics: columns(costs[at]!) })),
      goals: [
        { metric: "wall", against: "skopeo", atMost: 0.33 },
        { metric: "cpu", against: "skopeo", atMost: 0.33 },
        ofContainerd,
        { metric: "rss", atMost: 150 },
        // Warm beside warm: neither starts within the measurement.
        { of: daemon.name, ...ofContainerd },
        { of: daemon.name, metric: "wall", against: "skopeo", atMost: 0.33 },
        { of: daemon.name, metric: "cpu", against: "skopeo", atMost: 0.33 },
      ],
    });
  }
  return reports;
}

/** Every contestant in each round, one after the other, each into an empty directory. */
export async function runRounds(
  place: WorkPlace,
  all: readonly Puller[],
  image: string,
  rounds: number,
): Promise<readonly (readonly Cost[])[]> {
  const costs = all.map(() => [] as Cost[]);
  for (let round = 0; round < rounds; round++)
    for (const [at, puller] of all.entries()) {
      const directory = join(place.path, "store");
      mkdirSync(directory);
      costs[at]!.push(await puller.pull(directory, image));
      // Removed outside of the measurement; what is not yet written must not burden the next one.
      unmountBelow(directory);
      rmSync(directory, { recursive: true });
      await puller.forget?.();
      await measure("sync", ["-f", place.path]);
    }
  return costs;
}

export function columns(costs: readonly Cost[]): Readonly<Record<string, readonly number[]>> {
  return {
    wall: costs.map(({ wall }) => wall),
    cpu: costs.map(({ cpu }) => cpu),
    rss: costs.map(({ rss }) => rss),
  };
}
