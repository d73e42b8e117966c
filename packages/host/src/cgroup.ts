import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join, normalize } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { OcidError } from "@ocid/base";
import { type CgroupLayout, detectCgroups } from "./cgroup-layout.ts";
import { errnoOf } from "./errno.ts";

/** A cgroup by its path from the root of each hierarchy, as an OCI runtime's `cgroupsPath` has it: `/kubepods/x`. */
export interface Cgroup {
  readonly path: string;
  /** Its directories: one on version 2, one for each controller on version 1. */
  readonly directories: readonly string[];
  exists(): boolean;
  create(): void;
  addProcess(pid: number): void;
  /** Pids in it and, with `deep`, in those below. */
  processes(deep?: boolean): readonly number[];
  /** Kills everything in it and below; returns when nothing is left or throws DEADLINE_EXCEEDED. */
  kill(options?: { readonly timeoutMs?: number }): Promise<void>;
  /** Removes it and those below; processes must have gone. What is gone already is no error. */
  remove(): Promise<void>;
  /** Text of a file of one controller; undefined where there is none. */
  read(controller: string, file: string): string | undefined;
  write(controller: string, file: string, text: string): void;
}

export function openCgroup(path: string, layout: CgroupLayout = detectCgroups()): Cgroup {
  const clean = normalize(`/${path}`);
  if (clean === "/" || clean.includes("/../"))
    throw new OcidError("INVALID_ARGUMENT", `not a cgroup of a pod or container: ${JSON.stringify(path)}`);
  const mountpoints = layout.version === 2 ? [layout.unified!] : [...new Set(layout.controllers.values())];
  const directories = mountpoints.map(mountpoint => join(mountpoint, clean));
  const everywhere = layout.hierarchies.map(mountpoint => join(mountpoint, clean));
  const directoryOf = (controller: string) => {
    const mountpoint =
      layout.controllers.get(controller) ?? (layout.version === 2 ? layout.unified : undefined);
    return mountpoint === undefined ? undefined : join(mountpoint, clean);
  };
  const processes = (deep = false) => [...new Set(everywhere.flatMap(directory => pidsOf(directory, deep)))];
  const cgroup: Cgroup = {
    path: clean,
    directories,
    exists: () => everywhere.some(directory => tryRead(join(directory, "cgroup.procs")) !== undefined),
    create() {
      for (const directory of directories) createDirectory(directory, layout);
    },
    addProcess(pid) {
      for (const directory of directories) writeFileSync(join(directory, "cgroup.procs"), String(pid));
    },
    processes,
    kill: options => killAll(cgroup, layout, options?.timeoutMs ?? 10_000),
    async remove() {
      for (const directory of everywhere) await removeTree(directory);
    },
    read(controller, file) {
      const directory = directoryOf(controller);
      return directory === undefined ? undefined : tryRead(join(directory, file));
    },
    write(controller, file, text) {
      const directory = directoryOf(controller);
      if (directory === undefined)
        throw new OcidError("FAILED_PRECONDITION", `this machine has no cgroup controller ${controller}`);
      writeFileSync(join(directory, file), text);
    },
  };
  return cgroup;
}

function createDirectory(directory: string, layout: CgroupLayout): void {
  mkdirSync(directory, { recursive: true });
  if (layout.version === 1) {
    inheritCpuset(directory, layout);
    return;
  }
  // On version 2 a controller works in a cgroup only when every parent passes it on.
  const root = layout.unified!;
  const parts = directory.slice(root.length + 1).split("/");
  for (let depth = 0; depth < parts.length; depth++) {
    const parent = join(root, ...parts.slice(0, depth));
    for (const controller of layout.controllers.keys()) {
      try {
        writeFileSync(join(parent, "cgroup.subtree_control"), `+${controller}`);
      } catch {
        // Not to be had here, or the parent has processes of its own; limits that need it will say so.
      }
    }
  }
}

/** A new cpuset of version 1 is empty and takes no process until it has processors and memory nodes. */
function inheritCpuset(directory: string, layout: CgroupLayout): void {
  const root = layout.controllers.get("cpuset");
  if (root === undefined || !directory.startsWith(`${root}/`)) return;
  const parts = directory.slice(root.length + 1).split("/");
  for (let depth = 1; depth <= parts.length; depth++) {
    const here = join(root, ...parts.slice(0, depth));
    for (const file of ["cpuset.cpus", "cpuset.mems"]) {
      if (tryRead(join(here, file))?.trim() === "")
        writeFileSync(join(here, file), readFileSync(join(here, "..", file), "utf8").trim());
    }
  }
}

async function killAll(cgroup: Cgroup, layout: CgroupLayout, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(50, pauseMs * 2)) {
    const alive = cgroup.processes(true);
    if (alive.length === 0) return;
    if (performance.now() > deadline) {
      throw new OcidError(
        "DEADLINE_EXCEEDED",
        `processes of cgroup ${cgroup.path} did not end within ${timeoutMs} ms of being killed: ${alive.slice(0, 10).join(", ")}`,
      );
    }
    if (layout.version === 2) cgroup.write("", "cgroup.kill", "1");
    else killFrozen(cgroup, layout, alive);
    await sleep(pauseMs);
  }
}

/** On version 1 a fork bomb can only be caught while it stands still. */
function killFrozen(cgroup: Cgroup, layout: CgroupLayout, alive: readonly number[]): void {
  const freezer = layout.controllers.has("freezer") && cgroup.read("freezer", "freezer.state") !== undefined;
  if (freezer) cgroup.write("freezer", "freezer.state", "FROZEN");
  for (const pid of freezer ? cgroup.processes(true) : alive) {
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if (errnoOf(error) !== "ESRCH") throw error;
    }
  }
  if (freezer) cgroup.write("freezer", "freezer.state", "THAWED");
}

async function removeTree(directory: string): Promise<void> {
  for (const name of tryReaddir(directory)) await removeTree(join(directory, name));
  for (let attempt = 0; ; attempt++) {
    try {
      rmdirSync(directory);
      return;
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === "ENOENT") return;
      // Zombies that init has not reaped yet keep a cgroup busy for a moment.
      if (errno !== "EBUSY" || attempt === 200) throw error;
      await sleep(Math.min(25, 1 + attempt));
    }
  }
}

function pidsOf(directory: string, deep: boolean): readonly number[] {
  const own = (tryRead(join(directory, "cgroup.procs")) ?? "").split("\n").filter(Boolean).map(Number);
  return deep ? [...own, ...tryReaddir(directory).flatMap(name => pidsOf(join(directory, name), true))] : own;
}

function tryReaddir(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter(entry => entry.isDirectory())
      .map(entry => entry.name);
  } catch {
    return [];
  }
}

function tryRead(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
