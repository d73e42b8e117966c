import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createImageClient, createRuntimeClient } from "@ocid/cri-api";
import type { Runtime } from "./daemon.ts";
import { peer, type WorkPlace } from "./work-place.ts";

/** A peer that serves the CRI too: asked for the same as our daemon, by the same client. */
export interface CriPeer extends AsyncDisposable {
  readonly name: string;
  readonly runtime: Runtime;
  readonly images: ReturnType<typeof createImageClient>;
}

/**
 * A containerd of the benchmark's own with its CRI, runc and cgroupfs; undefined where there is none. `pauseImage`: an
 * image whose command does nothing, which it runs in each pod.
 */
export async function startContainerdCri(place: WorkPlace, pauseImage: string): Promise<CriPeer | undefined> {
  const containerd = peer("containerd");
  if (containerd === undefined) return undefined;
  const directory = join(place.path, "containerd-cri");
  mkdirSync(join(directory, "net.d"), { recursive: true });
  const socket = join(directory, "c.sock");
  const cri = `plugins."io.containerd.grpc.v1.cri"`;
  const config = [
    "version = 2",
    `root = "${join(directory, "root")}"`,
    `state = "${join(place.run, "containerd-cri")}"`,
    "[grpc]",
    `address = "${socket}"`,
    `[${cri}]`,
    `sandbox_image = "${pauseImage}"`,
    // Where less than our own may not be set, as in a container.
    "restrict_oom_score_adj = true",
    `[${cri}.cni]`,
    `conf_dir = "${join(directory, "net.d")}"`,
    `[${cri}.containerd.runtimes.runc]`,
    `runtime_type = "io.containerd.runc.v2"`,
  ];
  const path = join(directory, "config.toml");
  writeFileSync(path, `${config.join("\n")}\n`);
  const log = join(directory, "containerd.log");
  // It looks for its shim there.
  const env = { ...process.env, PATH: `${dirname(containerd)}:${process.env["PATH"] ?? ""}` };
  const child = spawn("sh", ["-c", 'exec "$0" -c "$1" >"$2" 2>&1', containerd, path, log], { env });
  const [runtime, images] = [createRuntimeClient(socket), createImageClient(socket)];
  for (let attempt = 0; ; attempt++) {
    try {
      await runtime.version({});
      break;
    } catch (error) {
      if (attempt < 100 && child.exitCode === null) await sleep(100);
      else
        throw new Error(`containerd did not start:\n${readFileSync(log, "utf8").slice(-4_000)}`, {
          cause: error,
        });
    }
  }
  return {
    name: "containerd over CRI",
    runtime,
    images,
    async [Symbol.asyncDispose]() {
      runtime[Symbol.dispose]();
      images[Symbol.dispose]();
      const ended = new Promise(resolve => child.once("exit", resolve));
      child.kill("SIGTERM");
      if (child.exitCode === null) await ended;
    },
  };
}
