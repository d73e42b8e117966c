import { type Logger, OcidError } from "@ocid/base";
import type { ContainerRecord, ContainerRestore, ShimFiles } from "./container-files.ts";
import type { OomKills } from "./oom-kills.ts";
import { restoreContainer, settleRestore } from "./restore.ts";
import type { InstalledRuntime, Runtimes } from "./runtimes.ts";

const timeoutMs = 600_000;
/** As if it had been killed before it did anything, like a created container that is stopped. */
const killedExitCode = 137;

/** The containers that are being restored, or wait for it. */
export class Restores {
  readonly #files: ShimFiles;
  readonly #runtimes: Runtimes;
  readonly #systemd: boolean;
  readonly #oomKills: OomKills;
  readonly #endAll: (id: string, runtime: InstalledRuntime) => Promise<void>;
  readonly #hasMonitor: (id: string) => boolean;
  readonly #underWay = new Map<string, AbortController>();
  /** How many callers want to end each. */
  readonly #unwanted = new Map<string, number>();

  constructor(
    files: ShimFiles,
    runtimes: Runtimes,
    systemd: boolean,
    oomKills: OomKills,
    endAll: (id: string, runtime: InstalledRuntime) => Promise<void>,
    hasMonitor: (id: string) => boolean,
  ) {
    this.#files = files;
    this.#runtimes = runtimes;
    this.#systemd = systemd;
    this.#oomKills = oomKills;
    this.#endAll = endAll;
    this.#hasMonitor = hasMonitor;
  }

  /** Goes on when the caller hangs up: whoever asks again finds the container running. It ends after ten minutes. */
  async run(record: ContainerRecord & { readonly restore: ContainerRestore }): Promise<void> {
    const { id } = record;
    if (this.#unwanted.has(id)) throw abandoned(id);
    const runtime = this.#runtimes.get(record.handler);
    const controller = new AbortController();
    this.#underWay.set(id, controller);
    try {
      await restoreContainer(this.#files, record, {
        runtime,
        conmonPath: this.#runtimes.conmonPath(runtime.name),
        systemd: this.#systemd,
        oomKills: this.#oomKills,
        endAll: () => this.#endAll(id, runtime),
        signal: AbortSignal.any([controller.signal, AbortSignal.timeout(timeoutMs)]),
      });
    } finally {
      this.#underWay.delete(id);
    }
  }

  /** Ends the restore of a container that is to be stopped or removed; none begins until this is disposed. */
  abandon(id: string): Disposable {
    const change = (by: number) => {
      const count = (this.#unwanted.get(id) ?? 0) + by;
      if (count > 0) this.#unwanted.set(id, count);
      else this.#unwanted.delete(id);
    };
    change(1);
    this.#underWay.get(id)?.abort(abandoned(id));
    return { [Symbol.dispose]: () => change(-1) };
  }

  /** Ends a container that still waits; false when it does not, and has a process. */
  async end(id: string): Promise<boolean> {
    if (!this.#files.findRecord(id)?.restore) return false;
    this.#files.noteExit(id, killedExitCode);
    return true;
  }

  /** See `settleRestore`; one that cannot be settled does not keep the others from it. */
  async settleAll(logger: Logger): Promise<void> {
    for (const id of this.#files.list()) {
      try {
        const record = this.#files.findRecord(id);
        if (record?.phase !== "restoring") continue;
        const runtime = this.#runtimes.get(record.handler);
        const hasMonitor = this.#hasMonitor(id);
        await settleRestore(this.#files, record, hasMonitor, () => this.#endAll(id, runtime));
      } catch (error) {
        logger.error("cannot undo half a restore", { container: id, error });
      }
    }
  }
}

function abandoned(id: string): OcidError {
  return new OcidError("CANCELLED", `container ${id.slice(0, 13)} is being stopped or removed`);
}
