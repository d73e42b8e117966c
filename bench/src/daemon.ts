import { spawn } from "node:child_process";
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isOcidError } from "@ocid/base";
import { createImageClient, createRuntimeClient, NamespaceMode } from "@ocid/cri-api";
import { makeBusyboxRootfs } from "@ocid/testkit";
import { measure } from "./measure.ts";
import type { Programs, WorkPlace } from "./work-place.ts";

export type Runtime = ReturnType<typeof createRuntimeClient>;

/** A daemon of the benchmark's own, and clients of it. */
export interface Daemon extends AsyncDisposable {
  readonly pid: number;
  readonly socket: string;
  /** Milliseconds from its start until it said that it is ready. */
  readonly readyMs: number;
  readonly runtime: Runtime;
  readonly images: ReturnType<typeof createImageClient>;
  /** Ends it as a crash would, without a chance to do anything. */
  kill(): Promise<void>;
}

/** Starts a daemon on the state below `directory`, which an earlier one may have left. */
export async function startDaemon(place: WorkPlace, programs: Programs, directory: string): Promise<Daemon> {
  mkdirSync(join(directory, "net.d"), { recursive: true });
  const log = join(directory, "ocid.log");
  writeFileSync(log, "");
  const fd = openSync(log, "a");
  const socket = join(directory, "ocid.sock");
  const places: Readonly<Record<string, string>> = {
    root: "r",
    "state-dir": "state",
    listen: "ocid.sock",
    "cni-config-dir": "net.d",
  };
  const flags = [
    ...Object.entries(places).flatMap(([flag, name]) => [`--${flag}`, join(directory, name)]),
    ...["--runroot", join(place.run, basename(directory))],
  ];
  const start = performance.now();
  const child = spawn(programs.ocid, flags, { stdio: ["ignore", fd, fd], env: { ...place.env } });
  for (let attempt = 0; !readFileSync(log, "utf8").includes("message=ready"); attempt++) {
    if (attempt === 2_000) throw new Error(`ocid did not start:\n${readFileSync(log, "utf8")}`);
    await sleep(5);
  }
  const readyMs = performance.now() - start;
  const runtime = createRuntimeClient(socket);
  const images = createImageClient(socket);
  // Clients of one address share what they know of it: one that found nobody there asks again only after a while.
  for (let attempt = 0; ; attempt++) {
    try {
      await runtime.version({});
      break;
    } catch (error) {
      if (attempt === 100 || !isOcidError(error, "UNAVAILABLE")) throw error;
      await sleep(100);
    }
  }
  const end = async (signal: NodeJS.Signals) => {
    const ended = new Promise(resolve => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  };
  return {
    pid: child.pid!,
    socket,
    readyMs,
    runtime,
    images,
    // Its clients stay open for those who are in the middle of a call.
    kill: () => end("SIGKILL"),
    async [Symbol.asyncDispose]() {
      runtime[Symbol.dispose]();
      images[Symbol.dispose]();
      await end("SIGTERM");
    },
  };
}

const pushed = new Set<string>();

/** Pushes a small image to start containers from, once; returns its name. */
export function pushBusybox(place: WorkPlace, programs: Programs): Promise<string> {
  return pushImage(place, programs, "busybox", ["sh"]);
}

/** Pushes an image that does nothing, which peers run in each pod; returns its name. */
export function pushPause(place: WorkPlace, programs: Programs): Promise<string> {
  return pushImage(place, programs, "pause", ["sleep", "1000000"]);
}

async function pushImage(
  place: WorkPlace,
  programs: Programs,
  name: string,
  command: readonly string[],
): Promise<string> {
  const image = `${place.registry.host}/bench/${name}:1`;
  if (pushed.has(image)) return image;
  const rootfs = makeBusyboxRootfs(join(place.inputs, name));
  const config = ["--cmd", JSON.stringify(command), "--env", "PATH=/bin"];
  const target = `docker://${image}`;
  await measure(programs.ocic, ["--tls-verify=false", "import", rootfs, target, ...config], place.env);
  pushed.add(image);
  return image;
}

/** A pod without a network of its own, so that plugins do not count. */
export function sandboxConfig(name: string) {
  return {
    metadata: { name, namespace: "bench", uid: `uid-${name}`, attempt: 0 },
    linux: {
      cgroupParent: "/ocid-bench",
      securityContext: { namespaceOptions: { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER } },
    },
  };
}

export interface StartedPod {
  readonly podSandboxId: string;
  readonly containerId: string;
}

interface ContainerOptions {
  readonly command?: readonly string[];
  /** False: until it is created. */
  readonly start?: boolean;
}

/** A pod with one container, until the container runs. */
export async function startPod(
  runtime: Runtime,
  image: string,
  name: string,
  options: ContainerOptions = {},
): Promise<StartedPod> {
  const { podSandboxId } = await runtime.runPodSandbox({ config: sandboxConfig(name) });
  return { podSandboxId, containerId: await startContainer(runtime, image, { podSandboxId, name }, options) };
}

/** A container in the pod of that id and name. */
export async function startContainer(
  runtime: Runtime,
  image: string,
  pod: { readonly podSandboxId: string; readonly name: string },
  options: ContainerOptions & { readonly attempt?: number } = {},
): Promise<string> {
  const { command = ["sleep", "100000"], start = true, attempt = 0 } = options;
  const { containerId } = await runtime.createContainer({
    podSandboxId: pod.podSandboxId,
    sandboxConfig: sandboxConfig(pod.name),
    config: { metadata: { name: "c", attempt }, image: { image }, command: [...command], linux: {} },
  });
  if (start) await runtime.startContainer({ containerId });
  return containerId;
}

export async function removePods(runtime: Runtime): Promise<void> {
  for (const { id } of (await runtime.listPodSandbox({})).items)
    await runtime.removePodSandbox({ podSandboxId: id });
}

/** Removes all pods at the end of a scope, also where it fails: containers outlive their daemon. */
export function removingPods(runtime: Runtime): AsyncDisposable {
  return { [Symbol.asyncDispose]: () => removePods(runtime) };
}

/** Milliseconds that a piece of work takes. */
export async function millisecondsOf(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
