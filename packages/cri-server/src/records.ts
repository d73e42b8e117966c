import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { OcidError, wrapError, writeAtomic } from "@ocid/base";
import {
  type ContainerConfig,
  ContainerConfigSchema,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
} from "@ocid/cri-api";
import type { RuntimeResources } from "@ocid/spec";
import type { PodNamespaces, RuntimeState } from "./ports.ts";

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
  /** Limits that plugins have set, where they are not those of the configuration. */
  resources?: RuntimeResources;
  /** What was known last; fed by exits, and derived anew at start. */
  state: RuntimeState;
  /** Whether listeners have been told that it has ended. */
  endTold: boolean;
  /** As of a sandbox. */
  unanswered: boolean;
}

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
    return join(this.#stateDir, "sandboxes", id);
  }

  containerDirectory(id: string): string {
    return join(this.#stateDir, "records", id);
  }

  /** Reads what is on disk. A record that cannot be read is an error: it may belong to something that runs. */
  load(): void {
    for (const id of readdirSync(join(this.#stateDir, "sandboxes"))) {
      const record = read(join(this.sandboxDirectory(id), "sandbox.json"));
      if (!record) rmSync(this.sandboxDirectory(id), { recursive: true, force: true });
      else
        this.sandboxes.set(id, {
          ...(record as unknown as Sandbox),
          config: fromJson(PodSandboxConfigSchema, record["config"] as JsonValue),
          createdAtNs: BigInt(record["createdAtNs"] as string),
          unanswered: true,
          stopping: false,
        });
    }
    for (const id of readdirSync(join(this.#stateDir, "records"))) {
      const record = read(join(this.containerDirectory(id), "container.json"));
      if (!record) rmSync(this.containerDirectory(id), { recursive: true, force: true });
      else
        this.containers.set(id, {
          ...(record as unknown as Container),
          config: fromJson(ContainerConfigSchema, record["config"] as JsonValue),
          createdAtNs: BigInt(record["createdAtNs"] as string),
          startedAtNs: BigInt(record["startedAtNs"] as string),
          state: { status: "unknown" },
          endTold: false,
          unanswered: true,
        });
    }
  }

  async saveSandbox(sandbox: Sandbox): Promise<void> {
    mkdirSync(this.sandboxDirectory(sandbox.id), { recursive: true, mode: 0o700 });
    const { config, unanswered: _, stopping: __, ...rest } = sandbox;
    await writeAtomic(
      join(this.sandboxDirectory(sandbox.id), "sandbox.json"),
      serialise({ ...rest, config: toJson(PodSandboxConfigSchema, config) }),
    );
    this.sandboxes.set(sandbox.id, sandbox);
  }

  async saveContainer(container: Container): Promise<void> {
    mkdirSync(this.containerDirectory(container.id), { recursive: true, mode: 0o700 });
    const { config, unanswered: _, state: __, endTold: ___, ...rest } = container;
    await writeAtomic(
      join(this.containerDirectory(container.id), "container.json"),
      serialise({ ...rest, config: toJson(ContainerConfigSchema, config) }),
    );
    this.containers.set(container.id, container);
  }

  deleteSandbox(id: string): void {
    rmSync(this.sandboxDirectory(id), { recursive: true, force: true });
    this.sandboxes.delete(id);
  }

  deleteContainer(id: string): void {
    rmSync(this.containerDirectory(id), { recursive: true, force: true });
    this.containers.delete(id);
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

function serialise(value: object): string {
  return JSON.stringify(value, (_, item) => (typeof item === "bigint" ? item.toString() : item));
}

function read(path: string): Record<string, unknown> | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw wrapError(`read ${path}`, error, "DATA_LOSS");
  }
}
