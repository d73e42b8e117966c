import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  millisecondsOf,
  pushBusybox,
  type Runtime,
  removingPods,
  sandboxConfig,
  startDaemon,
} from "./daemon.ts";
import { ownCpu } from "./measure.ts";
import { openRawClient } from "./raw-client.ts";
import type { WorkReport } from "./report.ts";
import type { Effort, Programs, WorkPlace } from "./work-place.ts";

const podsOfLists = 20;
/** How many are started at once, and how long that may go on: on a busy machine fewer are listed, and the report says so. */
const atOnce = 4;
const setUpMs = 5 * 60_000;
/** As the kubelet asks; statistics that it is told are to be new since the last time. */
const kubeletMs = 10_000;
/** Longer than lists share looks, too short for looks in advance. */
const soonMs = 700;
/** Longer than looks are made in advance for nobody. */
const silenceMs = 25_000;

const service = "/runtime.v1.RuntimeService";

/**
 * Lists of running containers, in 20 pods, asked by a client that does not decode what it gets: `Version` beside them
 * shows what a call costs that answers nothing.
 */
export async function benchList(
  place: WorkPlace,
  programs: Programs,
  { rounds, quick }: Effort,
): Promise<readonly WorkReport[]> {
  const wanted = quick ? 200 : 1_000;
  const image = await pushBusybox(place, programs);
  await using daemon = await startDaemon(place, programs, join(place.path, "list"));
  const { runtime, pid } = daemon;
  await using _pods = removingPods(runtime);
  await daemon.images.pullImage({ image: { image } });
  using client = await openRawClient(daemon.socket);
  const call = (method: string) => millisecondsOf(() => client.call(`${service}/${method}`));
  const growth: (readonly [number, number])[] = [];
  const containers = await startContainers(runtime, image, wanted, async count => {
    const times: number[] = [];
    for (let round = 0; round < 15; round++) times.push(await call("ListContainers"));
    growth.push([count, Math.min(...times)]);
  });
  const count = Math.max(rounds, 20);
  const measured = async (...methods: readonly string[]) => {
    for (const method of methods) await call(method);
    const before = ownCpu(pid);
    const ms: number[] = [];
    for (let round = 0; round < count; round++) for (const method of methods) ms.push(await call(method));
    return { ms, "own cpu ms": [((ownCpu(pid) - before) * 1000) / count] };
  };
  const spaced = async (method: string, gapMs: number, times: number) => {
    const ms: number[] = [];
    const cpu: number[] = [];
    for (let round = 0; round < times; round++) {
      const before = ownCpu(pid);
      await sleep(gapMs);
      ms.push(await call(method));
      cpu.push((ownCpu(pid) - before) * 1000);
    }
    return { ms, "own cpu ms, with the time before": cpu };
  };
  const nothing = { name: "Version, for comparison", metrics: await measured("Version") };
  const reports: WorkReport[] = [];
  const goalOfLists = containers >= 1_000 ? [{ metric: "ms", atMost: 15 }] : [];
  for (const method of ["ListContainers", "ListPodSandbox", "ListContainerStats"])
    reports.push({
      work: `${method} with ${containers} running containers in ${podsOfLists} pods, ${count} rounds`,
      series: [{ name: "ocid over CRI", metrics: await measured(method) }, nothing],
      goals: goalOfLists,
    });
  for (const method of ["ListContainerStats", "ListPodSandboxStats"]) {
    await call(method);
    reports.push({
      work: `${method} with ${containers} running containers, once in ${kubeletMs / 1000} s, 5 rounds`,
      series: [{ name: "ocid over CRI", metrics: await spaced(method, kubeletMs, 5) }],
      goals: goalOfLists,
    });
  }
  reports.push({
    work: `ListContainerStats with ${containers} running containers, again after ${soonMs} ms, so that all are looked at, 10 rounds`,
    series: [{ name: "ocid over CRI", metrics: await spaced("ListContainerStats", soonMs, 10) }],
    goals: [],
  });
  reports.push({
    work: `ListContainerStats with ${containers} running containers, the first in ${silenceMs / 1000} s, 2 rounds`,
    series: [{ name: "ocid over CRI", metrics: await spaced("ListContainerStats", silenceMs, 2) }],
    goals: [],
  });
  reports.push({
    work: `a relist (ListContainers, ListPodSandbox) with ${containers} containers; each second it is 3 % of a core at 30 ms`,
    series: [{ name: "ocid over CRI", metrics: await measured("ListContainers", "ListPodSandbox") }],
    goals: [{ metric: "own cpu ms", atMost: 30 }],
  });
  const [first, last] = [growth[0]!, growth.at(-1)!];
  reports.push({
    work: `growth of ListContainers up to ${last[0]} containers`,
    series: [
      {
        name: "ocid over CRI",
        metrics: {
          "best ms": growth.map(([, ms]) => ms),
          "ms a container, last/first": [last[1] / last[0] / (first[1] / first[0])],
        },
      },
    ],
    // A list that is linear takes the same for each, or less where the call itself weighs; quadratic would be 4.
    goals: [{ metric: "ms a container, last/first", atMost: 1.5 }],
    plot: {
      title: "ListContainers",
      x: "containers",
      y: "ms",
      curves: [{ name: "ocid over CRI", points: growth }],
    },
  });
  return reports;
}

/** Starts containers until there are as many as wanted, or the time is over; `look` sees each quarter. */
async function startContainers(
  runtime: Runtime,
  image: string,
  wanted: number,
  look: (count: number) => Promise<void>,
): Promise<number> {
  const deadline = performance.now() + setUpMs;
  const pods = await Promise.all(
    Array.from({ length: podsOfLists }, async (_, at) => {
      const config = sandboxConfig(`list-${at}`);
      return { config, ...(await runtime.runPodSandbox({ config })) };
    }),
  );
  let next = 0;
  const startUpTo = async (end: number) => {
    while (next < end && performance.now() < deadline) {
      const at = next++;
      const { config: sandboxConfig, podSandboxId } = pods[at % podsOfLists]!;
      const { containerId } = await runtime.createContainer({
        podSandboxId,
        sandboxConfig,
        config: {
          metadata: { name: `c${at}`, attempt: 0 },
          image: { image },
          command: ["sleep", "100000"],
          labels: { "io.kubernetes.container.name": `c${at}` },
          annotations: { "io.kubernetes.container.hash": "0123abcd" },
          linux: {},
        },
      });
      await runtime.startContainer({ containerId });
    }
  };
  for (let quarter = 1; quarter <= 4; quarter++) {
    const end = (wanted * quarter) / 4;
    await Promise.all(Array.from({ length: atOnce }, () => startUpTo(end)));
    await look(next);
  }
  return next;
}
