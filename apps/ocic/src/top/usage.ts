import type { PodCounters } from "./sample.ts";

/** What a pod uses between two looks. */
export interface PodUse {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  /** Of one processor. */
  readonly cpuPercent: number;
  readonly memoryBytes: number;
  readonly ioBytesPerSecond: number;
  readonly networkBytesPerSecond: number;
}

/** What is used between two looks. A pod that is new, or whose counters have begun again, has used nothing yet. */
export function useBetween(before: PodCounters | undefined, after: PodCounters): PodUse {
  const { id, name, namespace, memoryBytes } = after;
  const seconds = before ? Number(after.timeNs - before.timeNs) / 1e9 : 0;
  const rate = (now: number, then: number) => (seconds > 0 ? Math.max(0, now - then) / seconds : 0);
  return {
    ...{ id, name, namespace, memoryBytes },
    cpuPercent: rate(Number(after.cpuNs - (before?.cpuNs ?? 0n)), 0) / 1e7,
    ioBytesPerSecond: rate(after.ioBytes, before?.ioBytes ?? 0),
    networkBytesPerSecond: rate(after.networkBytes, before?.networkBytes ?? 0),
  };
}

export const sortKeys = {
  cpu: (use: PodUse): number => use.cpuPercent,
  memory: (use: PodUse): number => use.memoryBytes,
  io: (use: PodUse): number => use.ioBytesPerSecond,
  network: (use: PodUse): number => use.networkBytesPerSecond,
} as const;

export type SortKey = keyof typeof sortKeys;

/** The last looks at each pod; a pod that is gone is forgotten. */
export class UseHistory {
  readonly #kept: number;
  #counters = new Map<string, PodCounters>();
  #uses = new Map<string, readonly PodUse[]>();

  constructor(kept: number) {
    this.#kept = kept;
  }

  /** Takes a look's counters; returns each pod's uses, the newest last. */
  add(pods: readonly PodCounters[]): readonly (readonly PodUse[])[] {
    const uses = pods.map(pod => {
      const use = useBetween(this.#counters.get(pod.id), pod);
      return [...(this.#uses.get(pod.id) ?? []), use].slice(-this.#kept);
    });
    this.#counters = new Map(pods.map(pod => [pod.id, pod]));
    this.#uses = new Map(uses.map(history => [history[0]!.id, history]));
    return uses;
  }
}
