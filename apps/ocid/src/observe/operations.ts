import { type Logger, type Operation, observeOperations } from "@ocid/base";

/** An operation that has not ended. */
export interface OpenOperation {
  readonly operation: Operation;
  readonly startedMs: number;
}

export interface StageWatchOptions {
  readonly logger: Logger;
  /** How long an operation may take before it is told of. Streams and pulls are not operations that have to end. */
  readonly slowMs: number;
  /** How long one may take before the daemon counts as stuck. */
  readonly stuckMs: number;
}

/** Follows what is at work, so that what does not end is seen without anybody asking. */
export interface StageWatch extends Disposable {
  open(): readonly OpenOperation[];
  /** What is wrong, for the watchdog; undefined while nothing is stuck. */
  health(): string | undefined;
}

/** Operations that rightly take as long as somebody wants: people's sessions, followed lists, downloads. */
const unbounded =
  /^(runtime\.exec|cri\.(ExecSync|PullImage|StopContainer|StopPodSandbox|GetContainerEvents|Stream)|registry\.)/;

/** Logs each operation once that takes longer than `slowMs`: what it is, what it is about, and what it waits for. */
export function watchStages({ logger, slowMs, stuckMs }: StageWatchOptions): StageWatch {
  const open = new Map<Operation, OpenOperation & { told: boolean }>();
  const observer = observeOperations({
    start: operation => void open.set(operation, { operation, startedMs: performance.now(), told: false }),
    end: operation => void open.delete(operation),
  });
  const bounded = (longerThanMs: number) => {
    const now = performance.now();
    return [...open.values()].filter(
      ({ operation, startedMs }) => now - startedMs > longerThanMs && !unbounded.test(operation.name),
    );
  };
  const timer = setInterval(
    () => {
      for (const entry of bounded(slowMs)) {
        if (entry.told) continue;
        entry.told = true;
        const { name, attributes } = entry.operation;
        logger.warn("an operation takes long", {
          operation: name,
          ...attributes,
          seconds: Math.round((performance.now() - entry.startedMs) / 1000),
          alsoAtWork: [...open.values()]
            .filter(other => other !== entry)
            .slice(0, 20)
            .map(({ operation }) => describe(operation))
            .join("; "),
        });
      }
    },
    Math.max(50, slowMs / 4),
  ).unref();
  return {
    open: () => [...open.values()],
    health() {
      const stuck = bounded(stuckMs)[0];
      return stuck && `${describe(stuck.operation)} has not ended for ${Math.round(stuckMs / 1000)} s`;
    },
    [Symbol.dispose]() {
      clearInterval(timer);
      observer[Symbol.dispose]();
    },
  };
}

function describe({ name, attributes }: Operation): string {
  const about = Object.entries(attributes).map(([key, value]) => `${key}=${value}`);
  return [name, ...about].join(" ");
}
