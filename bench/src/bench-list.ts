import { join } from "node:path";
import {
  millisecondsOf,
  pushBusybox,
  type Runtime,
  removingPods,
  sandboxConfig,
  startDaemon,
  startPod,
} from "./daemon.ts";
import { ownCpu } from "./measure.ts";
import type { WorkReport } from "./report.ts";
import type { Programs, WorkPlace } from "./work-place.ts";

const containers = 1_000;
const podsOfLists = 100;

/** Lists with 1,000 containers in 100 pods, created and not started: the records are the same. */
export async function benchList(
  place: WorkPlace,
  programs: Programs,
  rounds: number,
): Promise<readonly WorkReport[]> {
  const image = await pushBusybox(place, programs);
  await using daemon = await startDaemon(place, programs, join(place.path, "list"));
  const { runtime, pid } = daemon;
  await using _pods = removingPods(runtime);
  await daemon.images.pullImage({ image: { image } });
  const grown: number[] = [];
  for (let pod = 0; pod < podsOfLists; pod++) {
    await addContainers(runtime, image, pod);
    if ((pod + 1) % (podsOfLists / 4) === 0) grown.push(await best(() => runtime.listContainers({})));
  }
  const count = Math.max(rounds, 20);
  const calls: Readonly<Record<string, () => Promise<unknown>>> = {
    ListContainers: () => runtime.listContainers({}),
    ListPodSandbox: () => runtime.listPodSandbox({}),
    ListContainerStats: () => runtime.listContainerStats({}),
  };
  const reports: WorkReport[] = [];
  for (const [name, call] of Object.entries(calls)) {
    await call();
    const before = ownCpu(pid);
    const ms: number[] = [];
    for (let round = 0; round < count; round++) ms.push(await millisecondsOf(call));
    const cpu = ((ownCpu(pid) - before) * 1000) / count;
    reports.push({
      work: `${name} with ${containers} containers, ${count} rounds, to a client in JavaScript`,
      series: [{ name: "ocid over CRI", metrics: { ms, "own cpu ms": [cpu] } }],
      goals: [
        { metric: "ms", atMost: 15 },
        ...(name === "ListContainerStats" ? [] : [{ metric: "own cpu ms", atMost: 30 }]),
      ],
    });
  }
  reports.push({
    work: `growth: ListContainers with ${[1, 2, 3, 4].map(part => (part * containers) / 4).join(", ")} containers`,
    series: [
      { name: "ocid over CRI", metrics: { "ms each": grown, "last/first": [grown.at(-1)! / grown[0]!] } },
    ],
    // Four times as many may take four times as long, and some more for what a processor's caches hold.
    goals: [{ metric: "last/first", atMost: 6 }],
  });
  return reports;
}

async function addContainers(runtime: Runtime, image: string, pod: number): Promise<void> {
  const name = `list-${pod}`;
  const { podSandboxId } = await startPod(runtime, image, name, { start: false });
  for (let at = 1; at < containers / podsOfLists; at++)
    await runtime.createContainer({
      podSandboxId,
      sandboxConfig: sandboxConfig(name),
      config: {
        metadata: { name: `c${at}`, attempt: 0 },
        image: { image },
        command: ["sleep", "1"],
        linux: {},
      },
    });
}

async function best(call: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < 7; round++) times.push(await millisecondsOf(call));
  return Math.min(...times);
}
