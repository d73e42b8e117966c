import { readFileSync, readlinkSync, statSync } from "node:fs";
import { basename } from "node:path";
import { type ProcessIdentity, readProcess } from "@ocid/host";
import { names } from "./records.ts";

/** A process of the node itself: root's, and outside of every container. */
export interface NodeProcess extends ProcessIdentity {
  readonly parentPid: number;
  readonly argv: readonly string[];
}

/**
 * Processes that may be ours, or other runtimes'. Those with another mount namespace are left out: what runs in a
 * container chooses its own arguments, and must not pass for a monitor.
 */
export function listNodeProcesses(): readonly NodeProcess[] {
  const own = readlinkSync("/proc/self/ns/mnt");
  return names("/proc").flatMap(name => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const state = readProcess(Number(name));
      if (!state || state.state === "Z" || statSync(`/proc/${name}`).uid !== 0) return [];
      if (readlinkSync(`/proc/${name}/ns/mnt`) !== own) return [];
      const argv = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0").slice(0, -1);
      const { pid, startTime, parentPid } = state;
      return argv.length > 0 ? [{ pid, startTime, parentPid, argv }] : [];
    } catch {
      // It has gone between two reads.
      return [];
    }
  });
}

/** The value of an option, as `--name VALUE` or `--name=VALUE`. */
export function optionOf(argv: readonly string[], name: string): string | undefined {
  const at = argv.indexOf(name);
  if (at !== -1) return argv[at + 1];
  return argv.find(word => word.startsWith(`${name}=`))?.slice(name.length + 1);
}

/** The name of the program, also of one that is run by node. */
export function programOf({ argv }: NodeProcess): string {
  const [first = "", second = ""] = argv.map(word => basename(word));
  return first === "node" ? second.replace(/\.[cm]?js$/, "") : first;
}

/** The processes that a process has started, and theirs, in containers too. */
export function processesBelow(pid: number): readonly ProcessIdentity[] {
  const all = names("/proc").flatMap(name => (/^\d+$/.test(name) ? (readProcess(Number(name)) ?? []) : []));
  const found = all.filter(({ parentPid }) => parentPid === pid);
  // The list grows while it is walked.
  for (const parent of found) found.push(...all.filter(({ parentPid }) => parentPid === parent.pid));
  return found;
}
