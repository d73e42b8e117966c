import { mkdirSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { OcidError, traced } from "@ocid/base";
import { findExecutable, type RunResult, runProcess } from "@ocid/host";
import { noFeatures, type RuntimeFeatures, readFeatures } from "./runtime-features.ts";
import { runtimeMessage } from "./runtime-message.ts";
import type { CallOptions, RuntimeConfig, RuntimeType } from "./types.ts";

/** An OCI runtime that is installed here, and the directory that it keeps its state in. */
export interface InstalledRuntime {
  readonly name: string;
  readonly path: string;
  readonly type: RuntimeType;
  readonly root: string;
  /** Before any command: its state directory and what the configuration adds. */
  readonly globalArguments: readonly string[];
}

/** Whether the runtime has anything on disk of a container: a directory (runc, crun, youki), or files (runsc). */
export function hasRuntimeState({ root }: InstalledRuntime, id: string): boolean {
  return readdirSync(root).some(name => name === id || name.startsWith(`${id}_`));
}

/** The configured runtimes by name; each is looked for when it is used, so that one can be installed later. */
export class Runtimes {
  readonly #configs: Map<string, RuntimeConfig>;
  readonly #default: string;
  readonly #rootBelow: string;
  readonly #conmon: string;
  readonly #versions = new Map<string, Promise<string>>();
  readonly #features = new Map<string, Promise<RuntimeFeatures>>();

  constructor(configs: readonly RuntimeConfig[], defaultName: string, rootBelow: string, conmon: string) {
    this.#configs = new Map(configs.map(config => [config.name, config]));
    this.#default = defaultName;
    this.#rootBelow = rootBelow;
    this.#conmon = conmon;
  }

  /** Adds runtimes and changes those of the same name; none is taken away, because containers may be its. */
  configure(configs: readonly RuntimeConfig[]): void {
    for (const config of configs) this.#configs.set(config.name, config);
  }

  names(): readonly string[] {
    return [...this.#configs.keys()];
  }

  get defaultName(): string {
    return this.#default;
  }

  get(name: string): InstalledRuntime {
    const wanted = name === "" ? this.#default : name;
    const config = this.#configs.get(wanted);
    if (!config)
      throw new OcidError(
        "NOT_FOUND",
        `runtime handler ${JSON.stringify(wanted)} is not configured (there are ${this.names().join(", ")})`,
      );
    const path = findExecutable(config.path);
    if (path === undefined)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `runtime ${wanted}: ${config.path} is not installed; install it or set its path in [runtimes.${wanted}]`,
      );
    const root = config.root ?? join(this.#rootBelow, wanted);
    mkdirSync(root, { recursive: true, mode: 0o700 });
    const type = config.type ?? (basename(config.path) === "runsc" ? "gvisor" : "oci");
    return { name: wanted, path, type, root, globalArguments: [`--root=${root}`, ...(config.args ?? [])] };
  }

  /** The monitor of a runtime's containers. */
  conmonPath(name: string): string {
    const wanted = name === "" ? this.#default : name;
    const conmon = this.#configs.get(wanted)?.conmon ?? this.#conmon;
    const path = findExecutable(conmon);
    if (path === undefined)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `${conmon} is not installed; install conmon, or set runtime.conmon or that of [runtimes.${wanted}]`,
      );
    return path;
  }

  /** Annotations that containers of a runtime may have; names, or beginnings with `*`. */
  annotations(name: string): readonly string[] {
    return this.#configs.get(name === "" ? this.#default : name)?.annotations ?? [];
  }

  /** What a runtime can do, asked once; nothing while it is not installed. */
  async features(name: string): Promise<RuntimeFeatures> {
    const config = this.#configs.get(name === "" ? this.#default : name);
    const path = config && findExecutable(config.path);
    if (path === undefined) return noFeatures;
    let features = this.#features.get(path);
    if (!features) {
      features = readFeatures(path);
      this.#features.set(path, features);
      features.catch(() => this.#features.delete(path));
    }
    return await features.catch(() => noFeatures);
  }

  /** The first line of what the runtime says of itself. */
  async version(name: string): Promise<string> {
    const runtime = this.get(name);
    let version = this.#versions.get(runtime.path);
    if (!version) {
      version = runProcess({ path: runtime.path, args: ["--version"], timeoutMs: 10_000 }).then(
        ({ stdout }) => /version\s+v?(\S+)/i.exec(stdout.toString())?.[1] ?? "unknown",
      );
      this.#versions.set(runtime.path, version);
      version.catch(() => this.#versions.delete(runtime.path));
    }
    return await version;
  }
}

/** Runs a command of the runtime that must succeed. */
export async function runRuntime(
  runtime: InstalledRuntime,
  args: readonly string[],
  options: CallOptions & { readonly stdin?: string; readonly timeoutMs?: number } = {},
): Promise<RunResult> {
  const request = {
    path: runtime.path,
    args: [...runtime.globalArguments, ...args],
    timeoutMs: options.timeoutMs ?? 120_000,
    signal: options.signal,
    ...(options.stdin === undefined ? {} : { stdin: options.stdin }),
  };
  const attributes = { runtime: runtime.name, container: args.at(-1) ?? "" };
  const result = await traced({ name: `runtime.${args[0]}`, attributes }, () => runProcess(request));
  if (result.code === 0) return result;
  const said = runtimeMessage(result.stderr.toString()).slice(-1000) || `exit code ${result.code}`;
  throw new OcidError(
    /does not exist/i.test(said) ? "NOT_FOUND" : "INTERNAL",
    `${runtime.name} ${args[0]}: ${said}`,
    { reason: "RuntimeFailed" },
  );
}

/** What the runtime says of a container (runtime-spec, runtime.md, "State"); undefined when it does not know it. */
export async function runtimeStatus(runtime: InstalledRuntime, id: string): Promise<string | undefined> {
  const result = await runRuntime(runtime, ["state", id]).catch(() => undefined);
  try {
    return JSON.parse(result?.stdout.toString() ?? "").status;
  } catch {
    return undefined;
  }
}
