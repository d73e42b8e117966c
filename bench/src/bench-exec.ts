import { globSync } from "node:fs";
import { join } from "node:path";
import { spawnProcess } from "@ocid/host";
import { millisecondsOf, pushBusybox, removingPods, startDaemon, startPod } from "./daemon.ts";
import { ownCpu } from "./measure.ts";
import type { WorkReport } from "./report.ts";
import { type Programs, peer, type WorkPlace } from "./work-place.ts";

/**
 * ExecSync of `true` beside the runtime's own exec in the same container. The latter is started as cheaply as a
 * process can be (posix_spawn), so that it is not burdened with this program's size.
 */
export async function benchExec(
  place: WorkPlace,
  programs: Programs,
  rounds: number,
): Promise<readonly WorkReport[]> {
  const image = await pushBusybox(place, programs);
  const directory = join(place.path, "exec");
  await using daemon = await startDaemon(place, programs, directory);
  const { runtime, pid } = daemon;
  await using _pods = removingPods(runtime);
  await daemon.images.pullImage({ image: { image } });
  const { containerId } = await startPod(runtime, image, "exec");
  const runc = peer("runc");
  // Where the runtime keeps its state is the daemon's affair: it is where the container is known.
  const state = globSync(`**/${containerId}/state.json`, { cwd: join(directory, "state") })[0];
  const root = state === undefined ? undefined : join(directory, "state", state, "../..");
  const ours: number[] = [];
  const theirs: number[] = [];
  const count = Math.max(rounds, 40);
  let cpu = 0;
  for (let round = -5; round < count; round++) {
    const before = ownCpu(pid);
    const mine = await millisecondsOf(() => runtime.execSync({ containerId, cmd: ["true"] }));
    const used = ownCpu(pid) - before;
    const bare =
      runc === undefined || root === undefined
        ? undefined
        : await millisecondsOf(() => runQuietly(runc, ["--root", root, "exec", containerId, "true"]));
    if (round < 0) continue;
    ours.push(mine);
    cpu += used * 1000;
    if (bare !== undefined) theirs.push(bare);
  }
  return [
    {
      work: `ExecSync true, ${count} rounds`,
      series: [
        { name: "ocid over CRI", metrics: { ms: ours, "own cpu ms": [cpu / count] } },
        ...(theirs.length > 0 ? [{ name: "runc exec", metrics: { ms: theirs } }] : []),
      ],
      goals: [{ metric: "ms", against: "runc exec", atMost: 1.15 }],
    },
  ];
}

async function runQuietly(path: string, args: readonly string[]): Promise<void> {
  const { PATH = "" } = process.env;
  const child = spawnProcess({
    path,
    argv: [path, ...args],
    env: { PATH },
    stdio: ["ignore", "ignore", "ignore"],
  });
  const { code } = await child.exited;
  if (code !== 0) throw new Error(`${path} ${args.join(" ")} ended with ${code}`);
}
