import { setTimeout as sleep } from "node:timers/promises";
import { type Logger, messageOf } from "@ocid/base";
import type { EventLog } from "./event-log.ts";
import type { PageSources } from "./page-sources.ts";
import { containerRows, imageRows, podRows, pullRows } from "./rows.ts";
import type { DoctorSection, NodeSection, Sections } from "./sections.ts";
import { UsageRates } from "./usage-rates.ts";

/** How often what changes all the time is looked at, and what takes longer to find out. */
const tickMs = 2_000;
const slowMs = 10_000;
/** How old the doctor's findings may be. */
const doctorMs = 120_000;

/** Rest after a look, in times of what it took: a store that takes long to look at is looked at less often. */
const tickRest = 1;
const slowRest = 19;

export interface LiveSources extends PageSources {
  readonly node: Omit<NodeSection, "problems">;
  readonly events: Pick<EventLog, "rows">;
  askDoctor(signal: AbortSignal): Promise<DoctorSection>;
  readonly logger: Logger;
}

/** Takes one part of the page: its name, and its JSON. */
export type Viewer = (section: string, json: string) => void;

/**
 * The page's parts as JSON, made once for all viewers and told when they have changed. While nobody looks, nothing is
 * looked at and nothing is kept but the doctor's last answer, which costs a second of processor time.
 */
export class LiveSections {
  readonly #sources: LiveSources;
  readonly #viewers = new Set<Viewer>();
  readonly #latest = new Map<string, string>();
  readonly #rates = new UsageRates();
  #looking: AbortController | undefined;
  #doctor: DoctorSection | undefined;

  constructor(sources: LiveSources) {
    this.#sources = sources;
  }

  /** Tells a viewer what is known, and then each change, until disposed of. */
  watch(viewer: Viewer): Disposable {
    for (const [section, json] of this.#latest) viewer(section, json);
    this.#viewers.add(viewer);
    if (this.#viewers.size === 1) this.#start();
    return {
      [Symbol.dispose]: () => {
        this.#viewers.delete(viewer);
        if (this.#viewers.size === 0) this.#stop();
      },
    };
  }

  #start(): void {
    this.#looking = new AbortController();
    const { signal } = this.#looking;
    const repeat = (what: string, restMs: number, restTimes: number, look: () => Promise<void>) =>
      void this.#repeat({ what, restMs, restTimes, signal, look });
    repeat("the node's state", tickMs, tickRest, () => this.#tick());
    repeat("the store's use", slowMs, slowRest, () => this.#lookAtStore());
    repeat("the doctor's findings", slowMs, slowRest, () => this.#callDoctor(signal));
    // Whatever a look takes, viewers are to know that the daemon lives.
    const alive = setInterval(() => {
      for (const viewer of this.#viewers) viewer("alive", "true");
    }, tickMs).unref();
    signal.addEventListener("abort", () => clearInterval(alive), { once: true });
  }

  #stop(): void {
    this.#looking?.abort();
    this.#looking = undefined;
    this.#latest.clear();
    this.#rates.forget();
  }

  async #repeat({ what, restMs, restTimes, signal, look }: Repeated): Promise<void> {
    while (!signal.aborted) {
      const start = performance.now();
      try {
        await look();
      } catch (error) {
        if (!signal.aborted) this.#sources.logger.warn("cannot be shown", { what, error: messageOf(error) });
      }
      const rest = Math.max(restMs, (performance.now() - start) * restTimes);
      await sleep(rest, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  async #tick(): Promise<void> {
    const { overview, pulls, events } = this.#sources;
    const pods = overview.pods();
    const containers = overview.containers();
    this.#tell("pods", podRows(pods, containers));
    this.#tell("containers", containerRows(pods, containers));
    this.#tell("pulls", pullRows(pulls()));
    this.#tell("events", events.rows());
    const usage = await overview.usage();
    this.#tell("usage", this.#rates.take(usage, BigInt(Date.now()) * 1_000_000n));
  }

  async #lookAtStore(): Promise<void> {
    const { overview, node } = this.#sources;
    const { runtime, network } = await overview.conditions();
    this.#tell("node", {
      ...node,
      problems: [
        ...(runtime === undefined ? [] : [`runtime not ready: ${runtime}`]),
        ...(network === undefined ? [] : [`network not ready: ${network}`]),
      ],
    });
    this.#tell("images", imageRows(await this.#sources.images()));
    this.#tell("store", await this.#sources.store());
  }

  async #callDoctor(signal: AbortSignal): Promise<void> {
    const known = this.#doctor;
    if (known) this.#tell("doctor", known);
    if (known && Date.now() - known.checkedAt < doctorMs) return;
    const found = await this.#sources.askDoctor(signal);
    if (signal.aborted) return;
    this.#doctor = found;
    this.#tell("doctor", found);
  }

  #tell<Name extends keyof Sections>(section: Name, value: Sections[Name]): void {
    // Nobody looks any more, and what is kept now would be old when somebody does.
    if (!this.#looking) return;
    const json = JSON.stringify(value);
    if (this.#latest.get(section) === json) return;
    this.#latest.set(section, json);
    for (const viewer of this.#viewers) viewer(section, json);
  }
}

interface Repeated {
  readonly what: string;
  readonly restMs: number;
  readonly restTimes: number;
  readonly signal: AbortSignal;
  readonly look: () => Promise<void>;
}
