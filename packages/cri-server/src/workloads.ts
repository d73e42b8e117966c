import { OcidError } from "@ocid/base";
import { isObject, type RuntimeResources } from "@ocid/spec";
import { cpuList } from "./runtime-config/resources.ts";

/** What containers of a workload may use of the processors; what is missing, zero or empty stays as the kubelet says. */
export interface WorkloadResources {
  /** CPU shares, 2 to 262144. */
  readonly cpushares?: number;
  /** CPUs, such as `0-1,4`. */
  readonly cpuset?: string;
  /** Microseconds in each period; -1 is without a limit. */
  readonly cpuquota?: number;
  /** Microseconds, 1000 to 1000000. */
  readonly cpuperiod?: number;
  /** Thousandths of a CPU; stands for a quota. */
  readonly cpulimit?: number;
}

/** A kind of pods that are pinned to processors, by an annotation that they have. */
export interface Workload {
  /** Pods that have this annotation, whatever its value, are of the workload. */
  readonly activationAnnotation: string;
  /** The annotation `<prefix>/<container>` of a pod says other resources for one of its containers, in JSON; without, none does. */
  readonly annotationPrefix?: string | undefined;
  readonly resources: WorkloadResources;
}

const limits: Readonly<Record<keyof WorkloadResources, (value: unknown) => string | undefined>> = {
  cpushares: value => numberProblem(value, { from: 2, to: 262_144 }),
  cpuset: value =>
    typeof value === "string" && cpuList.test(value) ? undefined : 'a list of CPUs such as "0-1,4"',
  cpuquota: value => (value === -1 ? undefined : numberProblem(value, { from: 1_000, to: 2 ** 44 })),
  cpuperiod: value => numberProblem(value, { from: 1_000, to: 1_000_000 }),
  cpulimit: value => numberProblem(value, { from: 1, to: 2 ** 32 }),
};

/** Reads resources of a workload; INVALID_ARGUMENT names the key that is not what it should be. */
export function parseWorkloadResources(value: unknown): WorkloadResources {
  if (!isObject(value))
    throw new OcidError("INVALID_ARGUMENT", `resources should be a table, found ${show(value)}`);
  for (const [key, entry] of Object.entries(value)) {
    const problem = Object.hasOwn(limits, key)
      ? limits[key as keyof WorkloadResources](entry)
      : `one of ${Object.keys(limits).join(", ")}`;
    if (problem === undefined) continue;
    const found = Object.hasOwn(limits, key) ? show(entry) : show(key);
    throw new OcidError("INVALID_ARGUMENT", `resources.${key} should be ${problem}, found ${found}`);
  }
  return value as WorkloadResources;
}

/**
 * The processors of a container (`POD`: of its pod's pause process) whose pod is of a workload, the first that fits;
 * undefined where none does, or where it says nothing. INVALID_ARGUMENT names an annotation that cannot be used.
 */
export function workloadCpu(
  workloads: readonly Workload[],
  podAnnotations: Readonly<Record<string, string>>,
  container: string,
): RuntimeResources["cpu"] {
  const workload = workloads.find(({ activationAnnotation }) =>
    Object.hasOwn(podAnnotations, activationAnnotation),
  );
  if (!workload) return undefined;
  const name = `${workload.annotationPrefix}/${container}`;
  const isSaid = workload.annotationPrefix !== undefined && Object.hasOwn(podAnnotations, name);
  const own: WorkloadResources = isSaid ? parseAnnotation(name, podAnnotations[name]!) : {};
  const resource = <K extends keyof WorkloadResources>(key: K) => own[key] || workload.resources[key];
  const [shares, cpus, period] = [resource("cpushares"), resource("cpuset"), resource("cpuperiod")];
  const limit = resource("cpulimit");
  const quota = limit
    ? Math.max(1_000, Math.floor((limit * (period || 100_000)) / 1_000))
    : resource("cpuquota");
  if (!shares && !cpus && !quota && !period) return undefined;
  return {
    ...(shares ? { shares } : {}),
    ...(cpus ? { cpus } : {}),
    ...(quota ? { quota } : {}),
    ...(period ? { period } : {}),
  };
}

function parseAnnotation(name: string, text: string): WorkloadResources {
  try {
    return parseWorkloadResources(JSON.parse(text));
  } catch (error) {
    throw new OcidError(
      "INVALID_ARGUMENT",
      `annotation ${name}: ${error instanceof OcidError ? error.message : `not JSON: ${show(text)}`}`,
      { cause: error },
    );
  }
}

/** Zero is as if it were not there. */
function numberProblem(value: unknown, { from, to }: { readonly from: number; readonly to: number }) {
  if (value === 0 || (Number.isInteger(value) && (value as number) >= from && (value as number) <= to))
    return undefined;
  return `a whole number from ${from} to ${to}`;
}

function show(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 100) ?? "nothing";
}
