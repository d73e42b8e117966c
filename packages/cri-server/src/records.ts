import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { messageOf, OcidError, writeAtomic } from "@ocid/base";
import type { ContainerConfig, PodSandboxConfig } from "@ocid/cri-api";
import type { RuntimeResources } from "@ocid/spec";
import type { PodNamespaces, RuntimeState } from "./ports.ts";
import { containerJson, isId, readContainer, readSandbox, sandboxJson } from "./record-files.ts";

/** A pod's sandbox. `creating` is what a daemon that died has left half made. */
export interface Sandbox {
  readonly id: string;
  readonly name: string;
  phase: "creating" | "ready" | "stopped";
  /** As it was asked for, with the limits that it has now. */
  config: PodSandboxConfig;
  readonly handler: string;
  readonly createdAtNs: bigint;
  readonly cgroupParent: string;
  /** Made by us because the request named none. */
  readonly ownsCgroup: boolean;
  readonly hostNetwork: boolean;
  namespaces: PodNamespaces;
  ips: readonly string[];
  /** The pause container of a pod that shares a pid namespace. */
  pauseId: string | undefined;
  /** Of the boot in which it was made: mounts and processes do not outlive it. */
  readonly bootId: string;
  /** Whether the answer to the request that made it may have been lost, so that a repeat of it gets the id once more. */
  unanswered: boolean;
  /** Being stopped: nothing more is made in it. */
  stopping: boolean;
}

export interface Container {
  readonly id: string;
  readonly sandboxId: string;
  readonly name: string;
  phase: "creating" | "created";
  readonly config: ContainerConfig;
  readonly imageId: string;
  /** `repository@digest`, or the image's id. */
  readonly imageRef: string;
  readonly createdAtNs: bigint;
  startedAtNs: bigint;
  readonly stopSignal: string;
  readonly logPath: string | undefined;
  readonly user: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] };
  /** Ids of the images of its image volumes, by container path. */
  readonly volumeImages?: Readonly<Record<string, string>>;
  /** Of one that is restored from a checkpoint. */
  readonly restored?: { /** As RFC 3339; empty where it is not known. */ readonly checkpointedAt: string };
  /** Limits that plugins have set, where they are not those of the configuration. */
  resources?: RuntimeResources;
  /** How it has ended, where only we know it any more: the runtime has lost what it had of it. */
  end?: Omit<Extract<RuntimeState, { status: "stopped" }>, "status">;
  /** What was known last; fed by exits, and derived anew at start. */
  state: RuntimeState;
  /** Whether listeners have been told that it has ended. */
  endTold: boolean;
  /** As of a sandbox. */
  unanswered: boolean;
}

const kinds = {
  sandbox: { below: "sandboxes", file: "sandbox.json" },
  container: { below: "records", file: "container.json" },
} as const;

export type RecordKind = keyof typeof kinds;

/** A record that is there and cannot be read; it may be of something that runs. */
export interface DamagedRecord {
  readonly kind: RecordKind;
  readonly id: string;
  /** Names the file, and what is wrong with it. */
  readonly message: string;
}

/** Begins the name of a directory that is being deleted. */
const goneMark = ".gone-";
/** A file beside the record of a container that is being removed. */
const removalMark = "removing";

/** Sandboxes and containers on disk, one directory each, and in memory what the directories say. */
export class Records {
  readonly sandboxes: Map<string, Sandbox> = new Map();
  readonly containers: Map<string, Container> = new Map();
  readonly #stateDir: string;

  constructor(stateDir: string) {
    this.#stateDir = stateDir;
    mkdirSync(join(stateDir, "sandboxes"), { recursive: true, mode: 0o700 });
    // Roots of user namespaces pass through to what is theirs, but may not look around.
    chmodSync(join(stateDir, "sandboxes"), 0o711);
    mkdirSync(join(stateDir, "records"), { recursive: true, mode: 0o700 });
  }

  sandboxDirectory(id: string): string {
    return this.#directory("sandbox", id);
  }

  containerDirectory(id: string): string {
    return this.#directory("container", id);
  }

  /** Where what cannot be read is kept (docs/adr/0021): a directory for each kind, and in it what was set aside. */
  get quarantine(): string {
    return join(this.#stateDir, "quarantine");
  }

  /** Reads what is on disk, and returns what cannot be read, which is left as it is. */
  load(): readonly DamagedRecord[] {
    return [
      ...this.#load("sandbox", this.sandboxes, readSandbox),
      ...this.#load("container", this.containers, readContainer),
    ];
  }

  #load<T>(
    kind: RecordKind,
    into: Map<string, T>,
    readFile: (path: string, id: string) => T,
  ): readonly DamagedRecord[] {
    const { below, file } = kinds[kind];
    const damaged: DamagedRecord[] = [];
    for (const id of readdirSync(join(this.#stateDir, below))) {
      const directory = join(this.#stateDir, below, id);
      if (id.startsWith(goneMark)) rmSync(directory, { recursive: true, force: true });
      // Somebody else's; nothing of ours has such a name.
      if (!isId(id)) continue;
      try {
        if (isUnwritten(directory)) rmSync(directory, { recursive: true, force: true });
        else into.set(id, readFile(join(directory, file), id));
      } catch (error) {
        damaged.push({ kind, id, message: messageOf(error) });
      }
    }
    return damaged;
  }

  async saveSandbox(sandbox: Sandbox): Promise<void> {
    await this.#save("sandbox", sandbox.id, sandboxJson(sandbox));
    this.sandboxes.set(sandbox.id, sandbox);
  }

  async saveContainer(container: Container): Promise<void> {
    await this.#save("container", container.id, containerJson(container));
    this.containers.set(container.id, container);
  }

  deleteSandbox(id: string): void {
    this.#delete("sandbox", id);
    this.sandboxes.delete(id);
  }

  deleteContainer(id: string): void {
    this.#delete("container", id);
    this.containers.delete(id);
  }

  /** Notes that a container's parts are being removed: what a restart finds so noted is removed to the end. */
  noteRemoval(id: string): void {
    const directory = this.containerDirectory(id);
    if (existsSync(directory)) writeFileSync(join(directory, removalMark), "", { mode: 0o600 });
  }

  isBeingRemoved(id: string): boolean {
    return existsSync(join(this.containerDirectory(id), removalMark));
  }

  /** Takes a record out of the lists and keeps its directory in the quarantine, with the reason in `reason.txt`. */
  setAside(kind: RecordKind, id: string, reason: string): void {
    const { below } = kinds[kind];
    const place = join(this.quarantine, below);
    mkdirSync(place, { recursive: true, mode: 0o700 });
    const directory = this.#directory(kind, id);
    if (statSync(directory).isDirectory())
      writeFileSync(join(directory, "reason.txt"), `${reason}\n`, { mode: 0o600 });
    // A second one of the same id is one that somebody has put back, and that is damaged still.
    const name = existsSync(join(place, id)) ? `${id}.${Date.now()}` : id;
    renameSync(directory, join(place, name));
    if (kind === "sandbox") this.sandboxes.delete(id);
    else this.containers.delete(id);
  }

  /** Ids of what was set aside. */
  setAsideIds(kind: RecordKind): ReadonlySet<string> {
    const place = join(this.quarantine, kinds[kind].below);
    return new Set(existsSync(place) ? readdirSync(place).map(name => name.split(".")[0]!) : []);
  }

  #directory(kind: RecordKind, id: string): string {
    return join(this.#stateDir, kinds[kind].below, id);
  }

  async #save(kind: RecordKind, id: string, json: string): Promise<void> {
    const directory = this.#directory(kind, id);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    await writeAtomic(join(directory, kinds[kind].file), json);
  }

  /** Out of the way in one step: a directory that has lost only its record would look damaged. */
  #delete(kind: RecordKind, id: string): void {
    const directory = this.#directory(kind, id);
    if (!existsSync(directory)) return;
    const gone = join(this.#stateDir, kinds[kind].below, `${goneMark}${id}`);
    rmSync(gone, { recursive: true, force: true });
    renameSync(directory, gone);
    rmSync(gone, { recursive: true, force: true });
  }

  /** By id or an id's unique prefix, as people type it. */
  findSandbox(id: string): Sandbox | undefined {
    return byPrefix(this.sandboxes, id, "sandbox");
  }

  findContainer(id: string): Container | undefined {
    return byPrefix(this.containers, id, "container");
  }

  getSandbox(id: string): Sandbox {
    const sandbox = this.findSandbox(id);
    if (!sandbox || sandbox.phase === "creating")
      throw new OcidError("NOT_FOUND", `pod sandbox ${JSON.stringify(id)} does not exist`);
    return sandbox;
  }

  getContainer(id: string): Container {
    const container = this.findContainer(id);
    if (!container || container.phase === "creating")
      throw new OcidError("NOT_FOUND", `container ${JSON.stringify(id)} does not exist`);
    return container;
  }

  containersOf(sandboxId: string): readonly Container[] {
    return [...this.containers.values()].filter(container => container.sandboxId === sandboxId);
  }
}

function byPrefix<T extends { readonly id: string }>(
  all: ReadonlyMap<string, T>,
  id: string,
  what: string,
): T | undefined {
  if (id === "") throw new OcidError("INVALID_ARGUMENT", `the ${what} id is missing`);
  const exact = all.get(id);
  if (exact) return exact;
  const matches = [...all.values()].filter(item => item.id.startsWith(id));
  if (matches.length > 1)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${what} id ${JSON.stringify(id)} is ambiguous: ${matches.map(item => item.id.slice(0, 16)).join(", ")}`,
    );
  return matches[0];
}

/** The record is the first thing in a directory: without one, or with one that was never finished, nothing was made. */
function isUnwritten(directory: string): boolean {
  return readdirSync(directory).every(name => name.startsWith(".tmp-"));
}
