import { closeSync, existsSync, mkdirSync, openSync, readFileSync, write, writeFileSync } from "node:fs";
import { join, normalize } from "node:path";
import { promisify } from "node:util";
import { OcidError } from "@ocid/base";
import { pidsOf, removeCgroupTree, tryRead } from "./cgroup-files.ts";
import { killCgroup, thawCgroup } from "./cgroup-kill.ts";
import { type CgroupLayout, detectCgroups } from "./cgroup-layout.ts";
import { type CgroupPressure, readCgroupPressure } from "./cgroup-pressure.ts";
import { type CgroupResources, planResources } from "./cgroup-resources.ts";
import { type CgroupUsage, type CgroupUsagePart, readCgroupUsage, readOomKills } from "./cgroup-usage.ts";
import { errnoOf, systemErrorOf } from "./errno.ts";
import { watchOomKills } from "./oom-watch.ts";

const writeLater = promisify(write);

/** A cgroup by its path from the root of each hierarchy, as an OCI runtime's `cgroupsPath` has it: `/kubepods/x`. */
export interface Cgroup {
  readonly path: string;
  /** Its directories: one on version 2, one for each controller on version 1. */
  readonly directories: readonly string[];
  exists(): boolean;
  create(): void;
  /** Moves a process with all its threads; NOT_FOUND when it has gone. */
  addProcess(pid: number): void;
  /** The same beside the event loop: the kernel lets the first writer in a while wait 10 ms and more (RCU). */
  moveProcess(pid: number): Promise<void>;
  /** Pids in it and, with `deep`, in those below. */
  processes(deep?: boolean): readonly number[];
  /** Kills everything in it and below; returns when nothing is left or throws DEADLINE_EXCEEDED (default 10 s). */
  kill(options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal | undefined }): Promise<void>;
  /** Lets its processes go on when somebody has frozen it; what does not exist is no error. */
  thaw(): void;
  /** Removes it and those below from every hierarchy; processes must have gone. What is gone already is no error. */
  remove(): Promise<void>;
  /** `parts`: what is told beyond CPU, memory and swap. Default: all. */
  usage(parts?: readonly CgroupUsagePart[]): CgroupUsage;
  pressure(): CgroupPressure;
  /** How often the kernel has killed a process in it for want of memory; on version 2 those below count too. */
  oomKills(): bigint;
  /** Calls back with the number of OOM kills whenever it has grown, until disposed of. */
  watchOom(onKill: (kills: bigint) => void): Disposable;
  /** Sets limits one by one; when one is refused those before it stay. */
  setResources(resources: CgroupResources): void;
  /** Text of a file of one controller; undefined where there is none. */
  read(controller: string, file: string): string | undefined;
  write(controller: string, file: string, text: string): void;
  /** Text of a file of the unified hierarchy, that of a hybrid included. */
  readUnified(file: string): string | undefined;
}

export function openCgroup(path: string, layout: CgroupLayout = detectCgroups()): Cgroup {
  const clean = normalize(`/${path}`).replace(/\/$/, "");
  if (clean === "" || clean.includes("\0") || path.split("/").includes(".."))
    throw new OcidError("INVALID_ARGUMENT", `not a cgroup of a pod or container: ${JSON.stringify(path)}`);
  const mountpoints = layout.version === 2 ? [layout.unified!] : [...new Set(layout.controllers.values())];
  const directories = mountpoints.map(mountpoint => join(mountpoint, clean));
  // Runtimes make it in the hierarchies without controllers too: what is to go has to go from all.
  const everywhere = layout.hierarchies.map(mountpoint => join(mountpoint, clean));
  const byController = new Map(
    [...layout.controllers].map(([name, mountpoint]) => [name, join(mountpoint, clean)]),
  );
  const directoryOf = (controller: string) =>
    byController.get(controller) ?? (layout.version === 2 ? directories[0] : undefined);
  const cgroup: Cgroup = {
    path: clean,
    directories,
    exists: () => everywhere.some(directory => existsSync(join(directory, "cgroup.procs"))),
    create() {
      for (const directory of directories) createDirectory(directory, layout);
    },
    addProcess(pid) {
      for (const directory of directories) writeFile(join(directory, "cgroup.procs"), String(pid));
    },
    async moveProcess(pid) {
      const [first = "", ...more] = directories.map(directory => join(directory, "cgroup.procs"));
      try {
        const fd = openSync(first, "w");
        try {
          await writeLater(fd, String(pid));
        } finally {
          closeSync(fd);
        }
      } catch (error) {
        throw systemErrorOf(error, "write", `${pid} to ${first}`);
      }
      // Those that follow at once do not wait any more.
      for (const file of more) writeFile(file, String(pid));
    },
    processes: (deep = false) => [...new Set(everywhere.flatMap(directory => pidsOf(directory, deep)))],
    kill: options => killCgroup(cgroup, layout, options?.timeoutMs ?? 10_000, options?.signal),
    thaw: () => thawCgroup(cgroup, layout),
    async remove() {
      for (const directory of everywhere) await removeCgroupTree(directory);
    },
    usage: parts => readCgroupUsage(cgroup, layout, parts),
    pressure: () => readCgroupPressure(cgroup),
    oomKills: () => readOomKills(cgroup, layout),
    watchOom: onKill => watchOomKills(cgroup, layout, onKill),
    setResources(resources) {
      for (const [controller, file, text] of planResources(resources, layout, cgroup))
        cgroup.write(controller, file, text);
    },
    read(controller, file) {
      const directory = directoryOf(controller);
      return directory === undefined ? undefined : tryRead(`${directory}/${file}`);
    },
    write(controller, file, text) {
      const directory = directoryOf(controller);
      if (directory === undefined)
        throw new OcidError("FAILED_PRECONDITION", `this machine has no cgroup controller ${controller}`);
      writeFile(join(directory, file), text);
    },
    readUnified: file =>
      layout.unified === undefined ? undefined : tryRead(join(layout.unified, clean, file)),
  };
  return cgroup;
}

/** Names the file and what was written; the kernel says no more than EINVAL. */
function writeFile(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw systemErrorOf(error, "write", `${JSON.stringify(text)} to ${path}`);
  }
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
      } catch (error) {
        // Not to be had here, or the parent has processes of its own; limits that need it will say so.
        if (errnoOf(error) === undefined) throw error;
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
