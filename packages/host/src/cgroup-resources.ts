import { OcidError } from "@ocid/base";
import type { Cgroup } from "./cgroup.ts";
import type { CgroupLayout } from "./cgroup-layout.ts";

/** Limits in the terms of the OCI runtime-spec (config-linux.md, "Control groups"); -1 is no limit. */
export interface CgroupResources {
  /** Bytes; `swap` is memory and swap together. */
  readonly memory?: { readonly limit?: number; readonly reservation?: number; readonly swap?: number };
  /** `quota` and `period` in microseconds. */
  readonly cpu?: {
    readonly shares?: number;
    readonly quota?: number;
    readonly period?: number;
    readonly cpus?: string;
    readonly mems?: string;
    readonly idle?: number;
  };
  readonly pids?: { readonly limit: number };
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limit: number }[];
  /** Files of version 2 by name. */
  readonly unified?: Readonly<Record<string, string>>;
}

export type CgroupWrite = readonly [controller: string, file: string, text: string];

/** What is to be written, in order, so that no step breaks a rule of the kernel on the way from the present limits. */
export function planResources(
  resources: CgroupResources,
  layout: CgroupLayout,
  cgroup: Pick<Cgroup, "read">,
): readonly CgroupWrite[] {
  return layout.version === 2 ? planV2(resources) : planV1(resources, cgroup);
}

function planV2({ memory, cpu, pids, hugepageLimits, unified }: CgroupResources): readonly CgroupWrite[] {
  const plan: CgroupWrite[] = [];
  const set = (controller: string, file: string, value: number | string | undefined) => {
    if (value !== undefined) plan.push([controller, file, String(value)]);
  };
  set("memory", "memory.max", orMax(memory?.limit));
  set("memory", "memory.low", orMax(memory?.reservation));
  set("memory", "memory.swap.max", orMax(swapAlone(memory)));
  set("cpu", "cpu.idle", cpu?.idle);
  // An idle cgroup has no weight; writing one would fail.
  if (cpu?.shares && cpu.idle !== 1) set("cpu", "cpu.weight", weightOfShares(cpu.shares));
  if (cpu?.quota !== undefined || cpu?.period !== undefined) {
    const quota = cpu.quota === undefined || cpu.quota <= 0 ? "max" : cpu.quota;
    set("cpu", "cpu.max", cpu.period ? `${quota} ${cpu.period}` : String(quota));
  }
  set("cpuset", "cpuset.cpus", cpu?.cpus);
  set("cpuset", "cpuset.mems", cpu?.mems);
  set("pids", "pids.max", orMax(pids?.limit));
  for (const { pageSize, limit } of hugepageLimits ?? [])
    set("hugetlb", `hugetlb.${checkedName(pageSize)}.max`, orMax(limit));
  for (const [file, value] of Object.entries(unified ?? {}))
    set(checkedName(file).split(".", 1)[0]!, file, value);
  return plan;
}

function planV1(
  { memory, cpu, pids, hugepageLimits, unified }: CgroupResources,
  cgroup: Pick<Cgroup, "read">,
): readonly CgroupWrite[] {
  if (unified && Object.keys(unified).length > 0)
    throw new OcidError(
      "FAILED_PRECONDITION",
      "this machine has cgroups of version 1: nothing unified to set",
    );
  const plan: CgroupWrite[] = [];
  const set = (controller: string, file: string, value: number | string | undefined) => {
    if (value !== undefined) plan.push([controller, file, String(value)]);
  };
  const setMemory = () => set("memory", "memory.limit_in_bytes", memory?.limit);
  const setSwap = () => set("memory", "memory.memsw.limit_in_bytes", memory?.swap);
  // The limit with swap may never be below the one without: whichever way both move, the outer moves first outwards.
  const present = Number(cgroup.read("memory", "memory.memsw.limit_in_bytes") ?? Number.POSITIVE_INFINITY);
  const outwards = memory?.swap === -1 || (memory?.swap ?? 0) > present;
  for (const step of outwards ? [setSwap, setMemory] : [setMemory, setSwap]) step();
  set("memory", "memory.soft_limit_in_bytes", memory?.reservation);
  set("cpu", "cpu.idle", cpu?.idle);
  if (cpu?.idle !== 1) set("cpu", "cpu.shares", cpu?.shares || undefined);
  set("cpu", "cpu.cfs_period_us", cpu?.period || undefined);
  set("cpu", "cpu.cfs_quota_us", cpu?.quota === 0 ? -1 : cpu?.quota);
  set("cpuset", "cpuset.cpus", cpu?.cpus);
  set("cpuset", "cpuset.mems", cpu?.mems);
  set("pids", "pids.max", orMax(pids?.limit));
  for (const { pageSize, limit } of hugepageLimits ?? [])
    set("hugetlb", `hugetlb.${checkedName(pageSize)}.limit_in_bytes`, limit);
  return plan;
}

function orMax(value: number | undefined): number | string | undefined {
  return value === -1 ? "max" : value;
}

function swapAlone(memory: CgroupResources["memory"]): number | undefined {
  if (memory?.swap === undefined || memory.swap === -1) return memory?.swap;
  if (memory.limit === undefined || memory.limit === -1 || memory.swap < memory.limit)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `memory with swap (${memory.swap}) has to be at least the memory limit (${memory.limit ?? "none"})`,
    );
  return memory.swap - memory.limit;
}

/** Shares of version 1 (2 to 262144) as a weight of version 2 (1 to 10000), on a line, as runc up to 1.3 has it. */
function weightOfShares(shares: number): number {
  const inside = Math.min(262_144, Math.max(2, shares));
  return 1 + Math.floor(((inside - 2) * 9_999) / 262_142);
}

function checkedName(name: string): string {
  if (!/^[A-Za-z0-9_.]+$/.test(name) || name.startsWith("cgroup."))
    throw new OcidError("INVALID_ARGUMENT", `not a file of a cgroup controller: ${JSON.stringify(name)}`);
  return name;
}
