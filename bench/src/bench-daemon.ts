import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { inputs, makeInput } from "./bench-inputs.ts";
import {
  type Daemon,
  millisecondsOf,
  pushBusybox,
  removePods,
  removingPods,
  startDaemon,
  startPod,
} from "./daemon.ts";
import { measure, memoryOf, processesWith } from "./measure.ts";
import type { WorkReport } from "./report.ts";
import type { Programs, WorkPlace } from "./work-place.ts";

const pods = 100;

/** The daemon itself: memory, finding pods again, news of ends, and how long it keeps others waiting. */
export async function benchDaemon(
  place: WorkPlace,
  programs: Programs,
  rounds: number,
): Promise<readonly WorkReport[]> {
  const image = await pushBusybox(place, programs);
  const directory = join(place.path, "daemon");
  const reports: WorkReport[] = [];
  {
    await using daemon = await startDaemon(place, programs, directory);
    await using stack = new AsyncDisposableStack();
    stack.use(removingPods(daemon.runtime));
    await sleep(2_000);
    const idle = memoryOf(daemon.pid);
    await daemon.images.pullImage({ image: { image } });
    reports.push(await exitToEvent(daemon, image, Math.max(rounds, 20)));
    for (let at = 0; at < pods; at++) await startPod(daemon.runtime, image, `mem-${at}`);
    await sleep(2_000);
    const full = memoryOf(daemon.pid);
    const monitors = processesWith(join(directory, "state")).filter(pid => pid !== daemon.pid);
    const pss = monitors.reduce((sum, pid) => sum + memoryOf(pid).pss, 0) / pods;
    const metrics = {
      "idle MB": [idle.privateDirty],
      "idle RSS MB": [idle.rss],
      [`MB with ${pods} pods`]: [full.privateDirty],
      "monitors MB a pod": [pss],
    };
    reports.push({
      work: `memory, private dirty, with ${pods} pods (PSS of monitors)`,
      series: [{ name: "ocid", metrics }],
      goals: [
        { metric: "idle MB", atMost: 45 },
        { metric: `MB with ${pods} pods`, atMost: 90 },
        { metric: "monitors MB a pod", atMost: 2.5 },
      ],
    });
    // These pods are what the next daemon is to find again.
    stack.move();
  }
  const readyMs: number[] = [];
  for (let round = 0; round < 3; round++) {
    await using daemon = await startDaemon(place, programs, directory);
    readyMs.push(daemon.readyMs);
    if (round === 2) await removePods(daemon.runtime);
  }
  reports.push({
    work: `start to ready with ${pods} pods to find again, 3 rounds`,
    series: [{ name: "ocid", metrics: { ms: readyMs } }],
    goals: [{ metric: "ms", atMost: 1_500 }],
  });
  reports.push(await versionWhilePulling(place, programs));
  return reports;
}

async function exitToEvent({ runtime }: Daemon, image: string, rounds: number): Promise<WorkReport> {
  const ms: number[] = [];
  using stop = new DisposableStack();
  const watching = stop.adopt(new AbortController(), controller => controller.abort());
  const stopped = new Map<string, (at: number) => void>();
  const events = runtime.getContainerEvents({}, { signal: watching.signal });
  const reading = (async () => {
    // Type 2 is CONTAINER_STOPPED_EVENT.
    for await (const event of events)
      if (event.containerEventType === 2) stopped.get(event.containerId)?.(performance.now());
  })().catch(() => {});
  for (let round = 0; round < rounds; round++) {
    const { podSandboxId, containerId } = await startPod(runtime, image, `event-${round}`);
    const told = new Promise<number>(resolve => stopped.set(containerId, resolve));
    const { info } = await runtime.containerStatus({ containerId, verbose: true });
    const { pid } = JSON.parse(info["info"] ?? "{}") as { readonly pid?: number };
    if (pid === undefined) throw new Error("ContainerStatus does not say the container's pid");
    const killed = performance.now();
    process.kill(pid, "SIGKILL");
    ms.push((await told) - killed);
    await runtime.removePodSandbox({ podSandboxId });
  }
  watching.abort();
  await reading;
  return {
    work: `container's end until GetContainerEvents tells it, ${rounds} rounds`,
    series: [{ name: "ocid", metrics: { ms } }],
    goals: [{ metric: "ms", atMost: 20 }],
  };
}

async function versionWhilePulling(place: WorkPlace, programs: Programs): Promise<WorkReport> {
  const layout = join(place.inputs, "version");
  await makeInput(layout, inputs["typical"]!);
  const image = `${place.registry.host}/bench/version:1`;
  await measure(
    programs.ocic,
    ["--tls-verify=false", "copy", `oci:${layout}:bench`, `docker://${image}`],
    place.env,
  );
  await using daemon = await startDaemon(place, programs, join(place.path, "version"));
  await daemon.runtime.version({});
  const ms: number[] = [];
  let pulling = true;
  const pull = daemon.images.pullImage({ image: { image } }).finally(() => {
    pulling = false;
  });
  while (pulling) {
    ms.push(await millisecondsOf(() => daemon.runtime.version({})));
    await sleep(2);
  }
  await pull;
  return {
    work: `Version while an image is pulled, ${ms.length} calls`,
    series: [{ name: "ocid over CRI", metrics: { ms } }],
    goals: [{ metric: "ms", share: 0.99, atMost: 10 }],
  };
}
