import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadNetwork, type NetworkList } from "@ocid/cni";
import { listMounts, type MountEntry } from "@ocid/host";
import { type CgroupOfOurs, listCgroups } from "./cgroup-list.ts";
import { listNodeProcesses, type NodeProcess, optionOf, programOf } from "./processes.ts";
import { names, type Records, readRecords } from "./records.ts";
import type { KnownDaemon } from "./settings.ts";

/** The node as it was found: what the kernel has, and then what the daemon's records say that it should have. */
export interface NodeState {
  readonly daemon: KnownDaemon;
  readonly bootId: string;
  readonly mounts: readonly MountEntry[];
  readonly processes: readonly NodeProcess[];
  readonly cgroups: readonly CgroupOfOurs[];
  readonly network: NetworkList | undefined;
  /** Ids of pods that have an address or port rules in our network, with what they have. */
  readonly networkHolders: ReadonlyMap<string, readonly string[]>;
  /** Ids of pods whose network another runtime has noted (libcni's cache). */
  readonly othersAttachments: ReadonlySet<string>;
  /** Daemons that may own what our records do not know: other runtimes, and other daemons of ours. */
  readonly otherDaemons: readonly NodeProcess[];
  readonly ownDaemons: readonly NodeProcess[];
  readonly records: Records;
}

/**
 * Reads the records last: whatever is made is written down first, so that nothing which is just being made looks like
 * an orphan.
 */
export function readNodeState(daemon: KnownDaemon, portRules: string): NodeState {
  const { stateDir } = daemon.settings;
  const mounts = listMounts();
  const processes = listNodeProcesses();
  const cgroups = listCgroups();
  const network = findNetwork(daemon.settings.cniConfigDir);
  const networkHolders = network ? holdersOf(network, portRules) : new Map<string, string[]>();
  const isOwn = (process: NodeProcess) =>
    programOf(process) === "ocid" &&
    process.argv[1] !== "config" &&
    (optionOf(process.argv, "--state-dir") ?? daemon.usualStateDir) === stateDir;
  return {
    daemon,
    bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
    mounts,
    processes,
    cgroups,
    network,
    networkHolders,
    othersAttachments: new Set(
      names("/var/lib/cni/results").flatMap(name => /[0-9a-f]{64}/.exec(name)?.[0] ?? []),
    ),
    otherDaemons: processes.filter(
      process =>
        /^(ocid|crio|containerd|dockerd)$/.test(programOf(process)) &&
        process.argv[1] !== "config" &&
        !isOwn(process),
    ),
    ownDaemons: processes.filter(isOwn),
    records: readRecords(stateDir),
  };
}

function findNetwork(configDir: string): NetworkList | undefined {
  try {
    return loadNetwork(configDir);
  } catch {
    // That none can be used is told among the programs.
    return undefined;
  }
}

/** From the files of host-local (one for each address, with the id in its first line), and portmap's comments. */
function holdersOf(network: NetworkList, portRules: string): ReadonlyMap<string, readonly string[]> {
  const holders = new Map<string, string[]>();
  const note = (id: string, what: string) => {
    if (/^[0-9a-f]{64}$/.test(id)) holders.set(id, [...(holders.get(id) ?? []), what]);
  };
  for (const { ipam } of network.plugins) {
    const { type, dataDir = "/var/lib/cni/networks" } = (ipam ?? {}) as { type?: string; dataDir?: string };
    if (type !== "host-local") continue;
    const directory = join(dataDir, network.name);
    for (const name of names(directory)) {
      if (!/^[0-9a-f.:]+$/.test(name)) continue;
      const [id = ""] = readText(join(directory, name)).split(/\r?\n/);
      note(id.trim(), `address ${name}`);
    }
  }
  for (const line of portRules.split("\n")) {
    const [, name, id = ""] = /name: \\?"([^"\\]+)\\?" id: \\?"([0-9a-f]{64})\\?"/.exec(line) ?? [];
    if (name === network.name && !holders.get(id)?.includes("port rules")) note(id, "port rules");
  }
  return holders;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8").slice(0, 4096);
  } catch {
    return "";
  }
}
