import { join } from "node:path";
import {
  type Daemon,
  millisecondsOf,
  pushBusybox,
  removePods,
  removingPods,
  startDaemon,
  startPod,
} from "./daemon.ts";
import { ownCpu } from "./measure.ts";
import { openPodman, podmanLimits } from "./podman.ts";
import type { WorkReport } from "./report.ts";
import type { Programs, WorkPlace } from "./work-place.ts";

/** Start, stop and remove: one pod after the other, then many at once; each with a container, without a network. */
export async function benchStart(
  place: WorkPlace,
  programs: Programs,
  rounds: number,
): Promise<readonly WorkReport[]> {
  const image = await pushBusybox(place, programs);
  await using daemon = await startDaemon(place, programs, join(place.path, "start"));
  await using _pods = removingPods(daemon.runtime);
  await daemon.images.pullImage({ image: { image } });
  return [...(await oneByOne(place, daemon, image, Math.max(rounds, 20))), await manyAtOnce(daemon, image)];
}

async function oneByOne(
  place: WorkPlace,
  daemon: Daemon,
  image: string,
  rounds: number,
): Promise<readonly WorkReport[]> {
  const { runtime, pid } = daemon;
  const podman = openPodman(place);
  await podman?.run("pull", "--tls-verify=false", image);
  const [ours, cpu, stops, theirs, theirStops]: number[][] = [[], [], [], [], []] as number[][];
  for (let round = -2; round < rounds; round++) {
    const before = ownCpu(pid);
    let podSandboxId = "";
    const started = await millisecondsOf(async () => {
      ({ podSandboxId } = await startPod(runtime, image, `one-${round}`));
    });
    const used = (ownCpu(pid) - before) * 1000;
    const stopped = await millisecondsOf(async () => {
      await runtime.stopPodSandbox({ podSandboxId });
      await runtime.removePodSandbox({ podSandboxId });
    });
    const name = `bench-${round}`;
    const run = ["run", "-d", "--name", name, "--network", "host", ...podmanLimits, image, "sleep", "100000"];
    const theirStart = await podman?.run(...run);
    const theirStop = await podman?.run("rm", "-f", "-t", "0", name);
    // The first two warm up.
    if (round < 0) continue;
    ours!.push(started);
    cpu!.push(used);
    stops!.push(stopped);
    if (theirStart) theirs!.push(theirStart.wall * 1000);
    if (theirStop) theirStops!.push(theirStop.wall * 1000);
  }
  const series = (mine: Record<string, readonly number[]>, others: readonly number[]) => [
    { name: "ocid over CRI", metrics: mine },
    ...(podman ? [{ name: "podman", metrics: { ms: others } }] : []),
  ];
  return [
    {
      work: `RunPodSandbox, CreateContainer, StartContainer, ${rounds} rounds, daemon warm (podman run -d)`,
      series: series({ ms: ours!, "own cpu ms": [mean(cpu!)] }, theirs!),
      goals: [
        { metric: "ms", against: "podman", atMost: 0.8 },
        { metric: "ms", share: 0.99, against: "p50", atMost: 2 },
        // The goal is for a container; a pod is counted as one here, its calls all told.
        { metric: "own cpu ms", atMost: 5 },
      ],
    },
    {
      work: `StopPodSandbox, RemovePodSandbox of a running pod, ${rounds} rounds (podman rm -f -t 0)`,
      series: series({ ms: stops! }, theirStops!),
      goals: [{ metric: "ms", against: "podman", atMost: 0.9 }],
    },
  ];
}

/** The kernel counts a process's time in steps of 10 ms: only the mean of many says something. */
function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

async function manyAtOnce({ runtime }: Daemon, image: string): Promise<WorkReport> {
  const pods = 100;
  const latencies: number[] = [];
  const names = Array.from({ length: pods }, (_, at) => `many-${at}`);
  const total = await millisecondsOf(() =>
    Promise.all(
      Array.from({ length: 10 }, async () => {
        for (let name = names.pop(); name !== undefined; name = names.pop()) {
          const mine = name;
          latencies.push(await millisecondsOf(() => startPod(runtime, image, mine)));
        }
      }),
    ),
  );
  await removePods(runtime);
  return {
    work: `${pods} pods, 10 at a time`,
    series: [{ name: "ocid over CRI", metrics: { "pods/s": [pods / (total / 1000)], ms: latencies } }],
    goals: [],
  };
}
