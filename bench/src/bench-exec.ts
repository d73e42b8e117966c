import { globSync } from "node:fs";
import { join } from "node:path";
import { millisecondsOf, pushBusybox, removingPods, startDaemon, startPod } from "./daemon.ts";
import { measure } from "./measure.ts";
import type { WorkReport } from "./report.ts";
import { type Programs, peer, type WorkPlace } from "./work-place.ts";

/** ExecSync of `true` beside the runtime's own exec in the same container. */
export async function benchExec(
  place: WorkPlace,
  programs: Programs,
  rounds: number,
): Promise<readonly WorkReport[]> {
  const image = await pushBusybox(place, programs);
  const directory = join(place.path, "exec");
  await using daemon = await startDaemon(place, programs, directory);
  const { runtime } = daemon;
  await using _pods = removingPods(runtime);
  await daemon.images.pullImage({ image: { image } });
  const { containerId } = await startPod(runtime, image, "exec");
  const runc = peer("runc");
  // Where the runtime keeps its state is the daemon's affair: it is where the container is known.
  const state = globSync(`**/${containerId}/state.json`, { cwd: join(directory, "state") })[0];
  const root = state === undefined ? undefined : join(directory, "state", state, "../..");
  const ours: number[] = [];
  const theirs: number[] = [];
  const count = Math.max(rounds, 30);
  for (let round = -2; round < count; round++) {
    const mine = await millisecondsOf(() => runtime.execSync({ containerId, cmd: ["true"] }));
    const bare =
      runc === undefined || root === undefined
        ? undefined
        : await measure(runc, ["--root", root, "exec", containerId, "true"], place.env);
    if (round < 0) continue;
    ours.push(mine);
    if (bare) theirs.push(bare.wall * 1000);
  }
  return [
    {
      work: `ExecSync true, ${count} rounds`,
      series: [
        { name: "ocid over CRI", metrics: { ms: ours } },
        ...(theirs.length > 0 ? [{ name: "runc exec", metrics: { ms: theirs } }] : []),
      ],
      goals: [{ metric: "ms", against: "runc exec", atMost: 1.15 }],
    },
  ];
}
