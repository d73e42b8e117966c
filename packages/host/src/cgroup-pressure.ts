import type { Cgroup } from "./cgroup.ts";

/** How long tasks waited (kernel docs, accounting/psi): percents of the last 10, 60, 300 s and the whole time. */
export interface PressureLine {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly totalUs: bigint;
}

export interface Pressure {
  /** At least one task waited. */
  readonly some: PressureLine;
  /** All tasks waited; older kernels do not tell for the CPU. */
  readonly full?: PressureLine;
}

export interface CgroupPressure {
  readonly cpu?: Pressure;
  readonly memory?: Pressure;
  readonly io?: Pressure;
}

/** Pressure stall information; a resource is left out where the kernel does not tell (version 1, `psi=0`). */
export function readCgroupPressure(cgroup: Pick<Cgroup, "readUnified">): CgroupPressure {
  const result: { -readonly [K in keyof CgroupPressure]: CgroupPressure[K] } = {};
  for (const resource of ["cpu", "memory", "io"] as const) {
    const text = cgroup.readUnified(`${resource}.pressure`);
    // The kernel has all three files or none of them.
    if (text === undefined) break;
    const pressure = parsePressure(text);
    if (pressure) result[resource] = pressure;
  }
  return result;
}

export function parsePressure(text: string): Pressure | undefined {
  const some = line(text, "some");
  const full = line(text, "full");
  return some && { some, ...(full ? { full } : {}) };
}

function line(text: string, kind: string): PressureLine | undefined {
  const match = new RegExp(
    `^${kind} avg10=([\\d.]+) avg60=([\\d.]+) avg300=([\\d.]+) total=(\\d+)$`,
    "m",
  ).exec(text);
  if (!match) return undefined;
  return {
    avg10: Number(match[1]),
    avg60: Number(match[2]),
    avg300: Number(match[3]),
    totalUs: BigInt(match[4]!),
  };
}
