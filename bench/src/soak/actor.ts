import { mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isOcidError } from "@ocid/base";
import { type Daemon, sandboxConfig } from "../daemon.ts";

export interface Actor {
  /** Does one thing after the other until it is told to stop; what goes wrong is reported and does not stop it. */
  run(signal: AbortSignal): Promise<void>;
}

export interface ActorOptions {
  readonly name: string;
  /** Numbers in [0, 1). */
  readonly random: () => number;
  /** The daemon of this moment: it may be killed at any time. */
  readonly daemon: () => Daemon;
  /** The first is the one that containers are made from. */
  readonly images: readonly string[];
  readonly logs: string;
  readonly counts: Map<string, number>;
  readonly onFailure: (what: string, error: unknown) => void;
}

interface Pod {
  readonly id: string;
  readonly name: string;
  readonly containers: { readonly id: string; readonly log: string }[];
}

const mostPods = 4;

/** Somebody who uses the node: pulls, makes pods and containers, runs commands, reads logs, asks, and removes. */
export function createActor({ name, random, daemon, images, logs, counts, onFailure }: ActorOptions): Actor {
  const pods: Pod[] = [];
  let serial = 0;
  const pick = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)];
  const runtime = () => daemon().runtime;

  const makePod = async () => {
    if (pods.length === mostPods) return await removePod();
    const podName = `${name}-${++serial}`;
    const logDirectory = join(logs, podName);
    mkdirSync(logDirectory, { recursive: true });
    const config = { ...sandboxConfig(podName), logDirectory };
    const pod: Pod = {
      id: (await runtime().runPodSandbox({ config })).podSandboxId,
      name: podName,
      containers: [],
    };
    pods.push(pod);
    for (let count = random() < 0.3 ? 2 : 1; count > 0; count--) {
      const logPath = `c${count}.log`;
      const { containerId } = await runtime().createContainer({
        podSandboxId: pod.id,
        sandboxConfig: config,
        config: {
          metadata: { name: `c${count}`, attempt: 0 },
          image: { image: images[0]! },
          command: ["sh", "-c", "while :; do echo tick; sleep 1; done"],
          logPath,
          linux: {},
        },
      });
      await runtime().startContainer({ containerId });
      pod.containers.push({ id: containerId, log: join(logDirectory, logPath) });
    }
  };
  const removePod = async () => {
    const [pod] = pods.splice(Math.floor(random() * pods.length), 1);
    if (!pod) return;
    if (random() < 0.5) await runtime().stopPodSandbox({ podSandboxId: pod.id });
    await runtime().removePodSandbox({ podSandboxId: pod.id });
    rmSync(join(logs, pod.name), { recursive: true, force: true });
  };
  const removeContainer = async () => {
    const pod = pick(pods);
    const container = pod?.containers.pop();
    if (!container) return;
    if (random() < 0.5) await runtime().stopContainer({ containerId: container.id, timeout: 0n });
    await runtime().removeContainer({ containerId: container.id });
  };
  const execute = async () => {
    const container = pick(pick(pods)?.containers ?? []);
    if (!container) return;
    const word = `${name}-${serial}`;
    const { stdout, exitCode } = await runtime().execSync({
      containerId: container.id,
      cmd: ["sh", "-c", `echo ${word}; exit 3`],
    });
    if (exitCode !== 3 || Buffer.from(stdout).toString() !== `${word}\n`)
      throw new Error(`exec answered ${exitCode} ${Buffer.from(stdout)}`);
  };
  const readLog = async () => {
    const container = pick(pick(pods)?.containers ?? []);
    if (!container) return;
    const { status } = await runtime().containerStatus({ containerId: container.id });
    if (status?.logPath !== container.log) throw new Error(`the log is told to be ${status?.logPath}`);
    await sleep(50);
    const bad = readFileSync(container.log, "utf8")
      .split("\n")
      .find(line => line !== "" && !/^\S+ stdout F tick$/.test(line));
    if (bad !== undefined) throw new Error(`a line of a log is ${JSON.stringify(bad)}`);
    renameSync(container.log, `${container.log}.1`);
    await runtime().reopenContainerLog({ containerId: container.id });
  };
  const pull = async () => {
    const image = { image: pick(images.slice(1))! };
    await daemon().images.pullImage({ image });
    if (random() < 0.6) await daemon().images.removeImage({ image });
  };
  const ask = async () => {
    await Promise.all([
      runtime().listContainers({}),
      runtime().listPodSandbox({}),
      runtime().listContainerStats({}),
      runtime().listPodSandboxStats({}),
      daemon().images.listImages({}),
      daemon().images.imageFsInfo({}),
      runtime().status({ verbose: true }),
    ]);
  };
  const actions = { makePod, removePod, removeContainer, execute, readLog, pull, ask };
  const often = { makePod: 4, removePod: 2, removeContainer: 1, execute: 5, readLog: 2, pull: 1, ask: 3 };
  const drawn = Object.entries(often).flatMap(([action, times]) => Array<string>(times).fill(action));

  return {
    async run(signal) {
      pods.length = 0;
      while (!signal.aborted) {
        const action = pick(drawn) as keyof typeof actions;
        try {
          await actions[action]();
          counts.set(action, (counts.get(action) ?? 0) + 1);
        } catch (error) {
          // Whoever was killed answers nobody; what became of the call shows in the lists.
          if (isOcidError(error, "UNAVAILABLE") || isOcidError(error, "CANCELLED")) {
            counts.set("cut off by a kill", (counts.get("cut off by a kill") ?? 0) + 1);
            await sleep(100);
          } else onFailure(`${name}: ${action}`, error);
        }
      }
    },
  };
}
