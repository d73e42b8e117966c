import { OcidError } from "@ocid/base";
import type { RuntimeProcess, RuntimeScheduler } from "@ocid/spec";
import {
  type ContainerAdjustment,
  IOPrioClass,
  type LinuxScheduler,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
  type POSIXRlimit,
} from "../gen/nri_pb.js";
import { checkText } from "./check-text.ts";
import { adjustList, marked } from "./removal.ts";

/** The container's process with what a plugin adjusts of it. */
export function adjustProcess(process: RuntimeProcess, adjust: ContainerAdjustment): RuntimeProcess {
  const { linux, args } = adjust;
  const own = args[0] === "" ? args.slice(1) : args;
  const { ioPriority: _, ...rest } = process;
  return {
    ...(linux?.ioPriority ? rest : process),
    ...(own.length > 0 ? { args: own.map(arg => checkText("argument", arg)) } : {}),
    ...(adjust.env.length > 0 ? { env: environment(process.env ?? [], adjust.env) } : {}),
    ...(adjust.rlimits.length > 0 ? { rlimits: limits(process.rlimits ?? [], adjust.rlimits) } : {}),
    ...(linux?.oomScoreAdj ? { oomScoreAdj: oomScore(linux.oomScoreAdj.value) } : {}),
    ...(linux?.ioPriority && linux.ioPriority.class !== IOPrioClass.IOPRIO_CLASS_NONE
      ? { ioPriority: { class: IOPrioClass[linux.ioPriority.class]!, priority: linux.ioPriority.priority } }
      : {}),
    ...(linux?.scheduler ? { scheduler: schedulerOf(linux.scheduler) } : {}),
  };
}

function environment(old: readonly string[], entries: ContainerAdjustment["env"]): string[] {
  const changes = marked(entries, entry => entry.key).map(({ key, value }) => {
    if (key === "" || key.includes("="))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `not the name of an environment variable: ${JSON.stringify(key.slice(0, 100))}`,
      );
    checkText("environment variable", key);
    return { key, value: value && `${key}=${checkText(key, value.value)}` };
  });
  return [...adjustList(old, changes, entry => entry.split("=", 1)[0]!)];
}

function limits(
  old: NonNullable<RuntimeProcess["rlimits"]>,
  next: readonly POSIXRlimit[],
): NonNullable<RuntimeProcess["rlimits"]> {
  const changes = next.map(({ type, hard, soft }) => {
    if (!/^RLIMIT_[A-Z]{2,20}$/.test(type) || soft > hard)
      throw new OcidError(
        "INVALID_ARGUMENT",
        `not a limit: ${JSON.stringify(type.slice(0, 100))} with ${soft} of ${hard}`,
      );
    return { key: type, value: { type, hard, soft } };
  });
  return [...adjustList(old, changes, limit => limit.type)];
}

function oomScore(value: bigint): number {
  if (value < -1000n || value > 1000n)
    throw new OcidError("INVALID_ARGUMENT", `oom_score_adj cannot be ${value}`);
  return Number(value);
}

function schedulerOf(scheduler: LinuxScheduler): RuntimeScheduler {
  const policy = LinuxSchedulerPolicy[scheduler.policy];
  const flags = scheduler.flags.map(flag => LinuxSchedulerFlag[flag] ?? "");
  if (policy === undefined || flags.includes(""))
    throw new OcidError("INVALID_ARGUMENT", "the scheduler has a policy or flag that is not known");
  return {
    policy,
    nice: scheduler.nice,
    priority: scheduler.priority,
    ...(flags.length > 0 ? { flags } : {}),
    runtime: Number(scheduler.runtime),
    deadline: Number(scheduler.deadline),
    period: Number(scheduler.period),
  };
}
