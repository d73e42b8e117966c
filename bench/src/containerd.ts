import { spawn } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Puller } from "./contestants.ts";
import { measure, ownCpu } from "./measure.ts";
import { peer } from "./work-place.ts";

/** A containerd of the benchmark's own; undefined where there is none. Its processor time is the client's and the daemon's. */
export async function startContainerd(directory: string): Promise<(Puller & AsyncDisposable) | undefined> {
  const [containerd, ctr] = [peer("containerd"), peer("ctr")];
  if (containerd === undefined || ctr === undefined) return undefined;
  mkdirSync(directory, { recursive: true });
  const address = join(directory, "c.sock");
  const config = join(directory, "config.toml");
  const [root, state] = [join(directory, "root"), join(directory, "state")];
  writeFileSync(
    config,
    `version = 2\nroot = "${root}"\nstate = "${state}"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "${address}"\n`,
  );
  const child = spawn(containerd, ["-c", config], { stdio: "ignore" });
  for (let attempt = 0; !existsSync(address); attempt++) {
    if (attempt === 200 || child.exitCode !== null) throw new Error("containerd did not start");
    await sleep(50);
  }
  await sleep(300);
  const pulled = new Set<string>();
  return {
    name: "containerd (warm daemon)",
    async pull(_directory, image) {
      const before = ownCpu(child.pid!);
      const cost = await measure(ctr, ["-a", address, "images", "pull", "--plain-http", image]);
      pulled.add(image);
      return { ...cost, cpu: cost.cpu + ownCpu(child.pid!) - before };
    },
    async forget() {
      for (const image of pulled) await measure(ctr, ["-a", address, "images", "rm", "--sync", image]);
      pulled.clear();
      await measure(ctr, ["-a", address, "content", "prune", "references"]).catch(() => {});
    },
    async [Symbol.asyncDispose]() {
      const ended = new Promise(resolve => child.once("exit", resolve));
      child.kill("SIGTERM");
      if (child.exitCode === null) await ended;
    },
  };
}
