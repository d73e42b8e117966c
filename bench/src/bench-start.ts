import { join } from "node:path";
import { type CriPeer, startContainerdCri } from "./containerd-cri.ts";
import {
  type Daemon,
  millisecondsOf,
  pushBusybox,
  pushPause,
  type Runtime,
  removePods,
  removingPods,
  startContainer,
  startDaemon,
  startPod,
} from "./daemon.ts";
import { ownCpu } from "./measure.ts";
import { openPodman, podmanLimits } from "./podman.ts";
import type { Goal, Series, WorkReport } from "./report.ts";
import type { Programs, WorkPlace } from "./work-place.ts";

const ours = "ocid over CRI";

/** Start, stop and remove: one pod after the other, then many at once; each with a container, without a network. */
export async function benchStart(
  place: WorkPlace,
  programs: Programs,
  rounds: number,
): Promise<readonly WorkReport[]> {
  const image = await pushBusybox(place, programs);
  const pause = await pushPause(place, programs);
  await using daemon = await startDaemon(place, programs, join(place.path, "start"));
  await using _pods = removingPods(daemon.runtime);
  await daemon.images.pullImage({ image: { image } });
  await using peer = await startContainerdCri(place, pause);
  await using _peerPods = peer && removingPods(peer.runtime);
  for (const name of [pause, image]) await peer?.images.pullImage({ image: { image: name } });
  return [
    ...(await oneByOne(place, daemon, peer, image, Math.max(rounds, 20))),
    await manyAtOnce(daemon, peer, image),
  ];
}

/** What one contestant took, in milliseconds, round by round. */
interface Times {
  readonly name: string;
  readonly start: number[];
  /** A container of a pod that stays, stopped and removed. */
  readonly end: number[];
  readonly stop: number[];
}

async function oneByOne(
  place: WorkPlace,
  daemon: Daemon,
  peer: CriPeer | undefined,
  image: string,
  rounds: number,
): Promise<readonly WorkReport[]> {
  const podman = openPodman(place);
  await podman?.run("pull", "--tls-verify=false", image);
  const timesOf = (name: string): Times => ({ name, start: [], end: [], stop: [] });
  const [mine, theirs, podmans] = [timesOf(ours), timesOf(peer?.name ?? ""), timesOf("podman")];
  const cpu: number[] = [];
  for (let round = -2; round < rounds; round++) {
    const before = ownCpu(daemon.pid);
    const pod = await timedStart(daemon.runtime, image, round);
    const used = (ownCpu(daemon.pid) - before) * 1000;
    const ended = await timedEnd(daemon.runtime, image, pod);
    const stopped = await timedStop(daemon.runtime, pod.podSandboxId);
    const name = `bench-${round}`;
    const run = ["run", "-d", "--name", name, "--network", "host", ...podmanLimits, image, "sleep", "100000"];
    const podmanStart = await podman?.run(...run);
    const podmanStop = await podman?.run("rm", "-f", "-t", "0", name);
    const other = peer && (await timedStart(peer.runtime, image, round));
    const otherEnd = peer && other && (await timedEnd(peer.runtime, image, other));
    const otherStop = peer && other && (await timedStop(peer.runtime, other.podSandboxId));
    // The first two warm up.
    if (round < 0) continue;
    mine.start.push(pod.started);
    mine.end.push(ended);
    mine.stop.push(stopped);
    cpu.push(used);
    if (podmanStart) podmans.start.push(podmanStart.wall * 1000);
    if (podmanStop) podmans.stop.push(podmanStop.wall * 1000);
    if (other) theirs.start.push(other.started);
    if (otherEnd !== undefined) theirs.end.push(otherEnd);
    if (otherStop !== undefined) theirs.stop.push(otherStop);
  }
  const others = [...(podman ? [podmans] : []), ...(peer ? [theirs] : [])];
  const series = (
    of: (times: Times) => readonly number[],
    more: Record<string, readonly number[]> = {},
  ): Series[] => [
    { name: ours, metrics: { ms: of(mine), ...more } },
    ...others
      .filter(times => of(times).length > 0)
      .map(times => ({ name: times.name, metrics: { ms: of(times) } })),
  ];
  const against = (atMost: number): Goal[] =>
    others.map(({ name }) => ({ metric: "ms", against: name, atMost }));
  return [
    {
      work: `RunPodSandbox, CreateContainer, StartContainer, ${rounds} rounds, daemons warm (podman run -d)`,
      series: series(({ start }) => start, { "own cpu ms": [mean(cpu)] }),
      goals: [
        ...against(0.8),
        { metric: "ms", share: 0.99, against: "p50", atMost: 2 },
        // The goal is for a container; a pod is counted as one here, its calls all told.
        { metric: "own cpu ms", atMost: 5 },
      ],
    },
    {
      work: `StopContainer, RemoveContainer of a running container, ${rounds} rounds`,
      series: series(({ end }) => end),
      goals: against(0.9),
    },
    {
      work: `StopPodSandbox, RemovePodSandbox of a running pod, ${rounds} rounds (podman rm -f -t 0)`,
      series: series(({ stop }) => stop),
      goals: against(0.9),
    },
  ];
}

interface TimedPod {
  readonly started: number;
  readonly podSandboxId: string;
  readonly name: string;
}

async function timedStart(runtime: Runtime, image: string, round: number): Promise<TimedPod> {
  const name = `one-${round}`;
  let podSandboxId = "";
  const started = await millisecondsOf(async () => {
    ({ podSandboxId } = await startPod(runtime, image, name));
  });
  return { started, podSandboxId, name };
}

async function timedEnd(runtime: Runtime, image: string, pod: TimedPod): Promise<number> {
  const containerId = await startContainer(runtime, image, pod, { attempt: 1 });
  return await millisecondsOf(async () => {
    await runtime.stopContainer({ containerId, timeout: 0n });
    await runtime.removeContainer({ containerId });
  });
}

function timedStop(runtime: Runtime, podSandboxId: string): Promise<number> {
  return millisecondsOf(async () => {
    await runtime.stopPodSandbox({ podSandboxId });
    await runtime.removePodSandbox({ podSandboxId });
  });
}

/** The kernel counts a process's time in steps of 10 ms: only the mean of many says something. */
function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

const pods = 100;

async function manyAtOnce(daemon: Daemon, peer: CriPeer | undefined, image: string): Promise<WorkReport> {
  const series = [{ name: ours, metrics: await startMany(daemon.runtime, image) }];
  if (peer) series.push({ name: peer.name, metrics: await startMany(peer.runtime, image) });
  return {
    work: `${pods} pods, 10 at a time`,
    series,
    goals: peer ? [{ metric: "pods/s", against: peer.name, atLeast: 1.3 }] : [],
  };
}

async function startMany(runtime: Runtime, image: string): Promise<Record<string, readonly number[]>> {
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
  return { "pods/s": [pods / (total / 1000)], ms: latencies };
}
