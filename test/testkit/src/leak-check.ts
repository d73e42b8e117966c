import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** What a test may leave behind on the node, as sorted lists of names. */
export interface NodeState {
  readonly mounts: readonly string[];
  readonly namespaces: readonly string[];
  readonly cgroups: readonly string[];
  readonly processes: readonly string[];
  readonly links: readonly string[];
}

/** Podman makes it at its first container and keeps it for good, for its own monitors. */
const podmansOwn = "libpod_parent";
const watched = /(^|\/)(conmon|runc|crun|pause)(\s|$)/;

export function readNodeState(): NodeState {
  return {
    mounts: mounts(),
    namespaces: existsSync("/run/netns") ? readdirSync("/run/netns").sort() : [],
    cgroups: cgroups("/sys/fs/cgroup"),
    processes: processes(),
    links: readdirSync("/sys/class/net").sort(),
  };
}

/**
 * Remembers the node; `expectClean` fails with the names of everything that has come since. Processes need a moment to
 * be reaped by a slow init, hence the grace.
 */
export function leakCheck(): { expectClean(graceMs?: number): Promise<void> } {
  const before = readNodeState();
  return {
    async expectClean(graceMs = 5_000) {
      const end = Date.now() + graceMs;
      for (;;) {
        const leaks = difference(before, readNodeState());
        if (leaks.length === 0) return;
        if (Date.now() > end) throw new Error(`left behind on the node:\n  ${leaks.join("\n  ")}`);
        await sleep(100);
      }
    },
  };
}

/** Everything in `after` that `before` has not, one line each. */
export function difference(before: NodeState, after: NodeState): string[] {
  const kinds = Object.keys(before) as (keyof NodeState)[];
  return kinds.flatMap(kind => {
    const known = new Map<string, number>();
    for (const name of before[kind]) known.set(name, (known.get(name) ?? 0) + 1);
    return after[kind]
      .filter(name => {
        const count = known.get(name) ?? 0;
        known.set(name, count - 1);
        return count <= 0;
      })
      .map(name => `${kind}: ${name}`);
  });
}

function mounts(): string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").trimEnd().split("\n");
  return lines.map(line => line.split(" ")[4] ?? line).sort();
}

function cgroups(root: string, depth = 6): string[] {
  const found: string[] = [];
  const walk = (directory: string, left: number) => {
    if (left === 0) return;
    for (const entry of tryReaddir(directory)) {
      if (!entry.isDirectory() || entry.name === podmansOwn) continue;
      found.push(join(directory, entry.name));
      walk(join(directory, entry.name), left - 1);
    }
  };
  walk(root, depth);
  return found.sort();
}

function processes(): string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      const program = command.split(" ", 1)[0] ?? "";
      const inContainer =
        readlinkSync(`/proc/${pid}/ns/mnt`) !== readlinkSync("/proc/self/ns/mnt") && command !== "";
      if (watched.test(program) || inContainer) found.push(`${pid} ${command.slice(0, 200)}`);
    } catch {
      // The process has gone between two reads.
    }
  }
  return found.sort();
}

function tryReaddir(directory: string) {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
}
