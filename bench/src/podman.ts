import { join } from "node:path";
import { measure } from "./measure.ts";
import { peer, type WorkPlace } from "./work-place.ts";

/** Podman with a store of its own: the stand-in where no other CRI runtime is. */
export interface Podman {
  run(...args: readonly string[]): Promise<{ readonly wall: number; readonly cpu: number }>;
}

/** Undefined where there is none. */
export function openPodman(place: WorkPlace): Podman | undefined {
  const podman = peer("podman");
  if (podman === undefined) return undefined;
  const directory = join(place.path, "podman");
  const roots = [
    "--root",
    join(directory, "r"),
    "--runroot",
    join(place.run, "podman"),
    "--storage-driver",
    "overlay",
  ];
  const manager = ["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"];
  return { run: (...args) => measure(podman, [...roots, ...manager, ...args], place.env) };
}

/** Limits that need no rights; the defaults cannot be set everywhere. */
export const podmanLimits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"] as const;
