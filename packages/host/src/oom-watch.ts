import { closeSync, openSync, watch, writeSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import type { Cgroup } from "./cgroup.ts";
import type { CgroupLayout } from "./cgroup-layout.ts";
import { socketOver } from "./pipe-handle.ts";
import { call } from "./sys.ts";

/**
 * Calls back with the number of OOM kills whenever it has grown. Version 2 tells by inotify on memory.events, version 1
 * by an eventfd (cgroup-v1/memory.rst, "OOM Control"). The watch keeps no process alive and falls silent when the
 * cgroup goes.
 */
export function watchOomKills(
  cgroup: Cgroup,
  layout: CgroupLayout,
  onKill: (kills: bigint) => void,
): Disposable {
  let known = cgroup.oomKills();
  const look = () => {
    const kills = cgroup.oomKills();
    if (kills <= known) return;
    known = kills;
    onKill(kills);
  };
  const mountpoint = layout.controllers.get("memory");
  if (mountpoint === undefined || !cgroup.exists())
    throw new OcidError("FAILED_PRECONDITION", `cgroup ${cgroup.path} has no memory controller to watch`);
  const directory = join(mountpoint, cgroup.path);
  return layout.version === 2 ? watchEvents(directory, look) : watchEventfd(directory, look);
}

function watchEvents(directory: string, look: () => void): Disposable {
  const watcher = watch(join(directory, "memory.events"), { persistent: false }, event => {
    if (event === "change") look();
    else watcher.close();
  });
  watcher.on("error", () => watcher.close());
  return { [Symbol.dispose]: () => watcher.close() };
}

// Version 1 tells when memory runs out, a moment before the kernel has killed and counted.
const looksMs = [0, 5, 20, 100, 500] as const;

function watchEventfd(directory: string, look: () => void): Disposable {
  const control = openSync(join(directory, "cgroup.event_control"), "w");
  const subject = openSync(join(directory, "memory.oom_control"), "r");
  const timers = new Set<NodeJS.Timeout>();
  try {
    const eventfd = call("eventfd", directory, 0, 0o2004000); // EFD_CLOEXEC | EFD_NONBLOCK
    const socket = socketOver(eventfd, directory);
    socket.unref();
    socket.on("error", () => socket.destroy());
    socket.on("data", () => {
      for (const ms of looksMs) {
        const timer = setTimeout(() => {
          timers.delete(timer);
          look();
        }, ms).unref();
        timers.add(timer);
      }
    });
    try {
      writeSync(control, `${eventfd} ${subject}`);
    } catch (error) {
      socket.destroy();
      throw error;
    }
    return {
      [Symbol.dispose]() {
        socket.destroy();
        for (const timer of timers) clearTimeout(timer);
      },
    };
  } finally {
    closeSync(control);
    closeSync(subject);
  }
}
