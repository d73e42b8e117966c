import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ProcessIdentity } from "@ocid/host";

/** What the daemon has written down of a pod, as far as the doctor needs it. */
export interface PodRecord {
  readonly id: string;
  readonly phase: string;
  readonly pauseId: string | undefined;
  /** Of the boot in which its mounts and processes were made. */
  readonly bootId: string;
}

/** What the monitor's side has written down of a container. */
export interface MonitoredContainer {
  readonly id: string;
  readonly init: ProcessIdentity | undefined;
  /** Whether its end was written down. */
  readonly ended: boolean;
}

export interface Records {
  readonly pods: ReadonlyMap<string, PodRecord>;
  /** Ids of containers with a record of the daemon. */
  readonly containers: ReadonlySet<string>;
  readonly monitored: ReadonlyMap<string, MonitoredContainer>;
  /** Ids of pods whose network is noted. */
  readonly attached: readonly string[];
  /** Records that are damaged, with what is wrong; nothing may be taken for an orphan while there is one. */
  readonly damaged: readonly string[];
  /** What the daemon has set aside, because its record could not be read. */
  readonly setAside: readonly SetAside[];
}

export interface SetAside {
  readonly kind: "pod" | "container";
  readonly id: string;
  readonly directory: string;
  /** As the daemon has noted it. */
  readonly reason: string;
}

/** Reads the state directory of a daemon, whether it runs or not. What is not there is empty. */
export function readRecords(stateDir: string): Records {
  const damaged: string[] = [];
  const all = (below: string, file: string) =>
    names(join(stateDir, below)).flatMap(id => {
      // What is being deleted, or is somebody else's.
      if (!/^[0-9a-f]{64}$/.test(id)) return [];
      const path = join(stateDir, below, id, file);
      try {
        return [{ id, value: JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown> }];
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code !== "ENOENT" && code !== "ENOTDIR") damaged.push(`${path}: ${(error as Error).message}`);
        return [];
      }
    });
  const pods = all("sandboxes", "sandbox.json").map(({ id, value }) => ({
    id,
    phase: String(value["phase"]),
    pauseId: typeof value["pauseId"] === "string" ? value["pauseId"] : undefined,
    bootId: String(value["bootId"]),
  }));
  const monitored = all("runtime/containers", "record.json").map(({ id, value }) => ({
    id,
    init: identityOf(value["init"]),
    ended: names(join(stateDir, "runtime/exits")).includes(id),
  }));
  return {
    pods: new Map(pods.map(pod => [pod.id, pod])),
    containers: new Set(all("records", "container.json").map(({ id }) => id)),
    monitored: new Map(monitored.map(container => [container.id, container])),
    attached: names(join(stateDir, "cni")).flatMap(name => /^([\w.-]+)\.json$/.exec(name)?.[1] ?? []),
    damaged,
    setAside: [...setAside(stateDir, "pod", "sandboxes"), ...setAside(stateDir, "container", "records")],
  };
}

function setAside(stateDir: string, kind: SetAside["kind"], below: string): readonly SetAside[] {
  const place = join(stateDir, "quarantine", below);
  return names(place).map(name => {
    const directory = join(place, name);
    return { kind, id: name.split(".")[0]!, directory, reason: readReason(join(directory, "reason.txt")) };
  });
}

function readReason(path: string): string {
  try {
    return readFileSync(path, "utf8").trim().slice(0, 1000);
  } catch {
    return "for a reason that is not noted any more";
  }
}

function identityOf(value: unknown): ProcessIdentity | undefined {
  const { pid, startTime } = (value ?? {}) as Record<string, unknown>;
  return Number.isInteger(pid) && /^\d+$/.test(String(startTime))
    ? { pid: pid as number, startTime: BigInt(startTime as string) }
    : undefined;
}

/** Names in a directory; none where there is none. */
export function names(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
    throw error;
  }
}
