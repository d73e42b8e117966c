import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createImageClient, createRuntimeClient, NamespaceMode } from "@ocid/cri-api";
import { makeBusyboxRootfs } from "@ocid/testkit";
import { measure } from "./measure.ts";
import type { WorkReport } from "./report.ts";
import { findPeer, type WorkPlace } from "./work-place.ts";

/** A pod with one container, from the request until it runs, without a network so that plugins do not count; both have the image. */
export async function benchStart(
  place: WorkPlace,
  programs: { readonly ocic: string; readonly ocid: string },
  rounds: number,
): Promise<WorkReport> {
  const directory = join(place.path, "start");
  mkdirSync(directory);
  const image = `${place.registry.host}/bench/busybox:1`;
  const rootfs = makeBusyboxRootfs(join(directory, "rootfs"));
  measure(
    programs.ocic,
    ["--tls-verify=false", "import", rootfs, `docker://${image}`, "--cmd", '["sh"]', "--env", "PATH=/bin"],
    place.env,
  );
  const socket = join(directory, "ocid.sock");
  const daemon = await startDaemon(programs.ocid, directory, socket, place.env);
  const podman = findPeer("podman");
  const podmanRoot = [
    "--root",
    join(directory, "pr"),
    "--runroot",
    join(directory, "prr"),
    "--storage-driver",
    "overlay",
    "--cgroup-manager",
    "cgroupfs",
    "--events-backend",
    "file",
  ];
  using runtime = createRuntimeClient(socket);
  using images = createImageClient(socket);
  try {
    await images.pullImage({ image: { image } });
    if (podman) measure(podman, [...podmanRoot, "pull", "--tls-verify=false", image], place.env);
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let round = 0; round < rounds; round++) {
      ours.push(await startPod(runtime, image, round));
      if (podman)
        theirs.push(
          measure(
            podman,
            [
              ...podmanRoot,
              "run",
              "-d",
              "--network",
              "none",
              "--ulimit",
              "nofile=1024:1024",
              "--ulimit",
              "nproc=1024:1024",
              image,
              "sleep",
              "1000",
            ],
            place.env,
          ).wallS,
        );
    }
    if (podman) execFileSync(podman, [...podmanRoot, "rm", "-fa", "-t", "0"], { stdio: "ignore" });
    for (const { id } of (await runtime.listPodSandbox({})).items)
      await runtime.removePodSandbox({ podSandboxId: id });
    return {
      work: `start a pod with one container, ${rounds} rounds, daemon warm (podman: run -d, no daemon)`,
      series: [
        { name: "ocid over CRI", wallS: ours, cpuS: [] },
        ...(podman ? [{ name: "podman run -d", wallS: theirs, cpuS: [] }] : []),
      ],
    };
  } finally {
    daemon.kill("SIGTERM");
    await new Promise(resolve => daemon.once("exit", resolve));
  }
}

async function startPod(
  runtime: ReturnType<typeof createRuntimeClient>,
  image: string,
  round: number,
): Promise<number> {
  const sandboxConfig = {
    metadata: { name: `bench-${round}`, namespace: "bench", uid: `u${round}`, attempt: 0 },
    linux: {
      securityContext: { namespaceOptions: { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER } },
    },
  };
  const start = performance.now();
  const { podSandboxId } = await runtime.runPodSandbox({ config: sandboxConfig });
  const { containerId } = await runtime.createContainer({
    podSandboxId,
    sandboxConfig,
    config: { metadata: { name: "c", attempt: 0 }, image: { image }, command: ["sleep", "1000"], linux: {} },
  });
  await runtime.startContainer({ containerId });
  return (performance.now() - start) / 1000;
}

async function startDaemon(
  ocid: string,
  directory: string,
  socket: string,
  env: WorkPlace["env"],
): Promise<ChildProcess> {
  mkdirSync(join(directory, "net.d"));
  const log = join(directory, "ocid.log");
  writeFileSync(log, "");
  const fd = openSync(log, "a");
  const flags = [
    "--root",
    join(directory, "r"),
    "--runroot",
    join(directory, "rr"),
    "--state-dir",
    join(directory, "state"),
    "--listen",
    socket,
    "--cni-config-dir",
    join(directory, "net.d"),
  ];
  const child = spawn(ocid, flags, { stdio: ["ignore", fd, fd], env: { ...env } });
  for (let attempt = 0; !readFileSync(log, "utf8").includes("message=ready"); attempt++) {
    if (attempt === 400) throw new Error(`ocid did not start:\n${readFileSync(log, "utf8")}`);
    await sleep(25);
  }
  return child;
}
