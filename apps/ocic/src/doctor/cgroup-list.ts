import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { detectCgroups, openCgroup } from "@ocid/host";

/** A cgroup whose name is one that only this project's daemons give. */
export interface CgroupOfOurs {
  /** From the root of each hierarchy. */
  readonly path: string;
  /** Of the pod or container that it is named for. */
  readonly id: string;
  readonly role: "pod" | "container" | "monitor";
  readonly processes: number;
}

const maxDepth = 8;

/** All of them, in every hierarchy; a container's, below its pod's, has a name like other runtimes' and is left to its pod. */
export function listCgroups(): readonly CgroupOfOurs[] {
  const found = new Map<string, Omit<CgroupOfOurs, "processes">>();
  for (const root of detectCgroups().hierarchies) walk(root, "", 0, path => note(found, path));
  return [...found.values()].map(cgroup => ({
    ...cgroup,
    processes: openCgroup(cgroup.path).processes(true).length,
  }));
}

function note(found: Map<string, Omit<CgroupOfOurs, "processes">>, path: string): void {
  const own = cgroupNamed(basename(path));
  if (own) found.set(path, { path, ...own });
}

/** Whose cgroup a name is: `/ocid-POD`, `conmon-CONTAINER`, and the scopes that systemd makes for us. */
export function cgroupNamed(name: string): Pick<CgroupOfOurs, "id" | "role"> | undefined {
  const [, prefix, id = "", scope] = /^(ocid|conmon|ocid-conmon)-([0-9a-f]{64})(\.scope)?$/.exec(name) ?? [];
  if (prefix === "ocid") return { id, role: scope ? "container" : "pod" };
  return prefix === (scope ? "ocid-conmon" : "conmon") ? { id, role: "monitor" } : undefined;
}

function walk(root: string, below: string, depth: number, visit: (path: string) => void): void {
  if (depth === maxDepth) return;
  for (const name of directoriesIn(join(root, below))) {
    const path = `${below}/${name}`;
    visit(path);
    walk(root, path, depth + 1, visit);
  }
}

function directoriesIn(directory: string): readonly string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    return entries.filter(entry => entry.isDirectory()).map(({ name }) => name);
  } catch {
    // It has gone between two reads.
    return [];
  }
}
