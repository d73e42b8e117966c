import { rmSync } from "node:fs";
import { join } from "node:path";
import { isRunning, openCgroup, signalProcess, unmount, waitForProcessEnd } from "@ocid/host";
import type { Diagnosis } from "../finding.ts";
import type { NodeState } from "../node-state.ts";
import { optionOf, processesBelow, programOf } from "../processes.ts";
import { names } from "../records.ts";
import { networkLeftovers } from "./network-leftovers.ts";

/**
 * What pods and containers have left behind that no record knows. Ownership is proved before anything is offered to be
 * mended: by lying below our state directory, by a monitor's arguments, by a name that only we give.
 */
export function leftovers(node: NodeState): readonly Diagnosis[] {
  const { damaged } = node.records;
  if (damaged.length > 0)
    return damaged.map(what => ({
      kind: "record",
      severity: "problem",
      what: `a record is damaged: ${what}`,
      why: "what it is of cannot be seen or stopped, and nothing can be told to belong to nobody",
      remedy: "start the daemon (again), which stops what it is of and keeps the rest in its quarantine",
    }));
  return [
    ...quarantined(node),
    ...mounts(node),
    ...containers(node),
    ...cgroups(node),
    ...monitors(node),
    ...networkLeftovers(node),
  ];
}

/** What the daemon has stopped and kept. Nothing is removed here: it may be all that there is of somebody's data. */
function quarantined({ records }: NodeState): readonly Diagnosis[] {
  return records.setAside.map(({ kind, id, directory, reason }) => ({
    kind: "quarantine",
    severity: "problem",
    what: `${kind} ${id.slice(0, 12)} was set aside in ${directory}: ${reason}`,
    why:
      kind === "container"
        ? "its writable layer is kept too, and takes space; its image cannot be removed"
        : "its containers were set aside as well",
    remedy:
      "take out what is needed, then remove the directory and restart the daemon, which removes the rest; or mend the record, and move the directory back while the daemon is stopped",
  }));
}

/** Mounts and pinned namespaces below the state directory of pods and containers that are no more. */
function mounts({ daemon, mounts: all, records, bootId }: NodeState): readonly Diagnosis[] {
  const { stateDir } = daemon.settings;
  return all.flatMap(({ target, fstype }): Diagnosis[] => {
    if (!target.startsWith(`${stateDir}/`)) return [];
    const [place = "", id = "", ...rest] = target.slice(stateDir.length + 1).split("/");
    if (!/^[0-9a-f]{64}$/.test(id)) return [];
    const pod = place === "sandboxes" ? records.pods.get(id) : undefined;
    const lives =
      place === "sandboxes"
        ? pod !== undefined && pod.phase !== "stopped" && pod.bootId === bootId
        : place !== "records" || records.containers.has(id);
    if (lives) return [];
    const pinned = fstype === "nsfs";
    return [
      {
        kind: pinned ? "namespace" : "mount",
        severity: "problem",
        what: pinned ? `${rest.at(-1)} namespace pinned at ${target}` : `${fstype} mounted at ${target}`,
        why: `no ${place === "records" ? "container" : "pod that runs"} ${id.slice(0, 12)} needs it; it holds memory${pinned ? ", and a network's interfaces" : ""}`,
        remedy: `umount ${target}`,
        // The directories that this leaves are taken by the daemon at its next start.
        fix() {
          while (unmount(target, { lazy: true }));
        },
      },
    ];
  });
}

/** Containers that the monitor's side knows and the daemon does not. Its start removes them in order; nobody else can. */
function containers({ records }: NodeState): readonly Diagnosis[] {
  const pauses = new Set([...records.pods.values()].map(({ pauseId }) => pauseId));
  const kept = new Set(records.setAside.map(({ id }) => id));
  return [...records.monitored.keys()]
    .filter(id => !records.containers.has(id) && !pauses.has(id) && !kept.has(id))
    .map(id => ({
      kind: "container",
      severity: "problem",
      what: `container ${id.slice(0, 12)} belongs to no pod's record`,
      why: "it may run on, and nobody can see or stop it through the daemon",
      remedy: "start the daemon (again), which removes it with all its parts",
    }));
}

function cgroups({ cgroups: all, records, otherDaemons }: NodeState): readonly Diagnosis[] {
  const pauses = new Set([...records.pods.values()].map(({ pauseId }) => pauseId));
  const anotherOfOurs = otherDaemons.find(process => programOf(process) === "ocid");
  return all.flatMap(({ path, id, role, processes }): Diagnosis[] => {
    if (role === "pod" ? records.pods.has(id) : records.monitored.has(id) || pauses.has(id)) return [];
    const busy = processes > 0 ? `${processes} processes are in it` : undefined;
    const shared = anotherOfOurs && `it may be that of the daemon with pid ${anotherOfOurs.pid}`;
    const obstacle = busy ?? shared;
    return [
      {
        kind: "cgroup",
        severity: "problem",
        what: `cgroup ${path} of a ${role} that no record knows${obstacle ? `; ${obstacle}` : ""}`,
        why: "it takes kernel memory, and limits of a pod that is gone",
        remedy: obstacle ? "end what is in it, then remove its directories" : "remove its directories",
        ...(obstacle === undefined ? { fix: () => openCgroup(path).remove() } : {}),
      },
    ];
  });
}

function monitors({ daemon, processes, records }: NodeState): readonly Diagnosis[] {
  const exits = join(daemon.settings.stateDir, "runtime/exits");
  const own = processes.filter(
    process => programOf(process) === "conmon" && optionOf(process.argv, "--exit-dir") === exits,
  );
  const watched = new Set(own.map(({ argv }) => optionOf(argv, "--cid")));
  const stray = own.filter(({ argv }) => !records.monitored.has(optionOf(argv, "--cid") ?? ""));
  const alone = [...records.monitored.values()].filter(
    ({ id, init, ended }) => !ended && !watched.has(id) && init !== undefined && isRunning(init),
  );
  return [
    ...stray.map(
      (process): Diagnosis => ({
        kind: "monitor",
        severity: "problem",
        what: `monitor ${process.pid} (conmon) of container ${optionOf(process.argv, "--cid")?.slice(0, 12)}, which no record knows`,
        why: "it and its container's processes run on, and nobody can stop them through the daemon",
        remedy: `end ${process.pid} and its children`,
        async fix() {
          const all = [...processesBelow(process.pid), process];
          for (const one of all) signalProcess(one, 9);
          for (const one of all) await waitForProcessEnd(one, { timeoutMs: 5_000 });
          removeRuntimeState(daemon.settings.stateDir, optionOf(process.argv, "--cid") ?? "");
        },
      }),
    ),
    ...alone.map(
      ({ id, init }): Diagnosis => ({
        kind: "container-without-monitor",
        severity: "problem",
        what: `container ${id.slice(0, 12)} runs (pid ${init!.pid}) without its monitor`,
        why: "its log is not written any more, and its exit code will not be known",
        remedy: `remove it (ocic rm ${id.slice(0, 12)}); the kubelet makes it again`,
      }),
    ),
  ];
}

/** What an OCI runtime keeps of a container whose processes have gone. */
function removeRuntimeState(stateDir: string, id: string): void {
  if (!/^[0-9a-f]{64}$/.test(id)) return;
  const runtimes = join(stateDir, "runtime/runtimes");
  for (const handler of names(runtimes))
    rmSync(join(runtimes, handler, id), { recursive: true, force: true });
}
