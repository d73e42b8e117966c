import { OcidError } from "@ocid/base";
import type { CallOptions } from "./ports.ts";

/** How long a result waits for the repeat of a request whose deadline passed; then it is undone. */
const keptMs = 5 * 60_000;
/** How long work goes on for a caller that hung up, whose next connection may ask again. */
const lingerMs = 2_000;
/** How long before a caller's deadline it is told where the work is, at most; after it, it would hear nothing. */
const earlyMs = 250;
const maxTimerMs = 2 ** 31 - 1;

/** Work that makes something under a name that is given once. */
export interface Creation {
  /** What is made, as people call it: `pod sandbox web_default_…`. Two with the same one are the same work. */
  readonly what: string;
  /** Whether another request under this name asks for the same. */
  same(other: Creation): boolean;
  readonly request: unknown;
  /** Makes it, in an unfinished state that a restart undoes, and says with `stage` what it is at; undoes itself when it fails. */
  make(signal: AbortSignal, stage: Stage): Promise<string>;
  /** Makes it count, once somebody is there to be told its id. */
  publish(id: string): Promise<void>;
  undo(id: string): Promise<void>;
}

/** Says what is done now, with the path or the image that it is done with. */
export type Stage = (what: string) => void;

interface UnderWay {
  readonly creation: Creation;
  readonly controller: AbortController;
  readonly startedMs: number;
  stage: string;
  stageMs: number;
  callers: number;
  abandon: NodeJS.Timeout | undefined;
  /** The id, once it is made; the failure, once it is undone. */
  made: Promise<string>;
  published: Promise<void> | undefined;
}

/**
 * What is being made right now. A request that comes again while the first is at work joins it; work whose callers'
 * deadlines have passed goes on, and its result waits for the repeat. Callers that wait too long hear where it is.
 */
export class Creations {
  readonly #underWay = new Map<string, UnderWay>();

  /** The id of what was made, by this call or by an earlier one that is still at work. */
  async run(creation: Creation, options: CallOptions): Promise<string> {
    for (;;) {
      const found = this.#underWay.get(creation.what);
      if (found?.controller.signal.aborted) {
        await inTime(
          found.made.catch(() => {}),
          found,
          options,
        );
        continue;
      }
      if (found && !creation.same(found.creation))
        throw new OcidError(
          "ALREADY_EXISTS",
          `${creation.what} is being made by another request, with other settings (${at(found)})`,
        );
      return await this.#join(found ?? this.#begin(creation), options);
    }
  }

  /** Ends the work under a name and waits until it is undone; for what is to be removed. */
  async cancel(what: string): Promise<void> {
    const found = this.#underWay.get(what);
    if (!found) return;
    this.#abandon(found, new OcidError("CANCELLED", `${what} is being removed`));
    await found.made.catch(() => {});
    await found.published?.catch(() => {});
  }

  #begin(creation: Creation): UnderWay {
    const controller = new AbortController();
    const now = performance.now();
    const entry: UnderWay = {
      creation,
      controller,
      startedMs: now,
      stage: "starting",
      stageMs: now,
      callers: 0,
      abandon: undefined,
      made: Promise.resolve(""),
      published: undefined,
    };
    const stage: Stage = what => {
      controller.signal.throwIfAborted();
      entry.stage = what;
      entry.stageMs = performance.now();
    };
    this.#underWay.set(creation.what, entry);
    entry.made = creation.make(controller.signal, stage).then(
      async id => {
        if (!controller.signal.aborted) return id;
        await this.#undo(entry, id);
        throw controller.signal.reason;
      },
      error => {
        this.#forget(entry);
        throw error;
      },
    );
    // Somebody may ask again before the failure is looked at, or nobody at all.
    entry.made.catch(() => {});
    return entry;
  }

  async #join(entry: UnderWay, options: CallOptions): Promise<string> {
    clearTimeout(entry.abandon);
    entry.callers++;
    try {
      const id = await inTime(entry.made, entry, options);
      entry.published ??= entry.creation.publish(id).then(() => this.#forget(entry));
      await entry.published;
      return id;
    } finally {
      entry.callers--;
      if (entry.callers === 0) this.#leave(entry, options);
    }
  }

  /** Nobody waits any more: the work goes on for a while, so that a repeat finds it. */
  #leave(entry: UnderWay, { signal, deadlineMs }: CallOptions): void {
    if (this.#underWay.get(entry.creation.what) !== entry) return;
    const hungUp = signal?.aborted === true && (deadlineMs === undefined || Date.now() < deadlineMs);
    const gone = new OcidError("CANCELLED", "the caller has gone, and nobody asked again");
    entry.abandon = setTimeout(() => this.#abandon(entry, gone), hungUp ? lingerMs : keptMs).unref();
  }

  #abandon(entry: UnderWay, reason: OcidError): void {
    clearTimeout(entry.abandon);
    if (entry.controller.signal.aborted || entry.published) return;
    entry.controller.abort(reason);
    // What is made already is undone here; what is at work is undone when it stops.
    const made = entry.made;
    entry.made = made.then(
      async id => {
        await this.#undo(entry, id);
        throw reason;
      },
      error => {
        throw error;
      },
    );
    entry.made.catch(() => {});
  }

  async #undo(entry: UnderWay, id: string): Promise<void> {
    try {
      await entry.creation.undo(id);
    } finally {
      this.#forget(entry);
    }
  }

  #forget(entry: UnderWay): void {
    if (this.#underWay.get(entry.creation.what) === entry) this.#underWay.delete(entry.creation.what);
  }
}

/** What is waited for, or the caller's end: shortly before its deadline it is told where the work is. */
async function inTime<T>(work: Promise<T>, entry: UnderWay, options: CallOptions): Promise<T> {
  const { signal, deadlineMs } = options;
  return await new Promise<T>((resolve, reject) => {
    const late = () =>
      reject(
        new OcidError(
          "DEADLINE_EXCEEDED",
          `${entry.creation.what} is still being made: ${at(entry)}; it goes on, repeat the request to wait for it`,
        ),
      );
    const hungUp = () => reject(signal?.reason);
    const left = deadlineMs === undefined ? Number.POSITIVE_INFINITY : deadlineMs - Date.now();
    const timer = setTimeout(late, Math.min(left - Math.min(earlyMs, left / 10), maxTimerMs));
    if (signal?.aborted) hungUp();
    else signal?.addEventListener("abort", hungUp, { once: true });
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", hungUp);
    });
  });
}

function at({ stage, stageMs, startedMs }: UnderWay): string {
  const now = performance.now();
  const seconds = (since: number) => ((now - since) / 1000).toFixed(1);
  return `at ${stage} for ${seconds(stageMs)} s, in all ${seconds(startedMs)} s`;
}
