import type { RuntimeResources } from "@ocid/spec";
import { type ContainerAdjustment, Field } from "../gen/nri_pb.js";
import { runtimeResources } from "../resources.ts";
import type { Owners } from "./owners.ts";
import { type Marked, marked, markedMap } from "./removal.ts";

/** Claims everything that a plugin adjusts. A removal gives the plugin the right to set the entry anew. */
export function claimAdjustment(
  owners: Owners,
  container: string,
  plugin: string,
  adjust: ContainerAdjustment,
): void {
  const { linux, hooks } = adjust;
  const claim = (field: Field, entry?: string) => owners.claim(container, field, plugin, entry);
  const entries = (field: Field, all: readonly Marked<unknown>[]) => {
    for (const { key, value } of all) if (value === undefined) owners.clear(container, field, plugin, key);
    for (const { key, value } of all) if (value !== undefined) claim(field, key);
  };
  entries(Field.Annotations, markedMap(adjust.annotations));
  entries(
    Field.Mounts,
    marked(adjust.mounts, mount => mount.destination),
  );
  entries(
    Field.Env,
    marked(adjust.env, entry => entry.key),
  );
  if (adjust.args.length > 0) {
    if (adjust.args[0] === "") owners.clear(container, Field.Args, plugin);
    claim(Field.Args);
  }
  // Hooks add up; nobody's are in the way of another's.
  if (hooks && Object.values(hooks).some(list => Array.isArray(list) && list.length > 0))
    owners.join(container, Field.OciHooks, plugin);
  for (const { type } of adjust.rlimits) claim(Field.Rlimits, type);
  for (const { name } of adjust.CDIDevices) claim(Field.CdiDevices, name);
  if (!linux) return;
  entries(
    Field.Devices,
    marked(linux.devices, device => device.path),
  );
  // A namespace that one plugin takes away another cannot give.
  for (const { key } of marked(linux.namespaces, namespace => namespace.type)) claim(Field.Namespace, key);
  entries(Field.Sysctl, markedMap(linux.sysctl));
  entries(Field.LinuxNetDevices, markedMap(linux.netDevices));
  if (linux.cgroupsPath !== "") claim(Field.CgroupsPath);
  if (linux.oomScoreAdj) claim(Field.OomScoreAdj);
  if (linux.ioPriority) claim(Field.IoPriority);
  if (linux.seccompPolicy) claim(Field.SeccompPolicy);
  if (linux.scheduler) claim(Field.LinuxSched);
  if (linux.memoryPolicy) claim(Field.MemoryPolicy);
  if (linux.resources?.blockioClass) claim(Field.BlockioClass);
  if (linux.resources?.rdtClass) claim(Field.RdtClass);
  claimResources(owners, container, plugin, runtimeResources(linux.resources));
  const { rdt } = linux;
  if (rdt?.remove)
    for (const field of [Field.RdtClosID, Field.RdtSchemata, Field.RdtEnableMonitoring])
      owners.clear(container, field, plugin);
  if (rdt?.closId) claim(Field.RdtClosID);
  if (rdt?.schemata) claim(Field.RdtSchemata);
  if (rdt?.enableMonitoring) claim(Field.RdtEnableMonitoring);
}

const memoryFields = {
  limit: Field.MemLimit,
  reservation: Field.MemReservation,
  swap: Field.MemSwapLimit,
  kernel: Field.MemKernelLimit,
  kernelTCP: Field.MemTCPLimit,
  swappiness: Field.MemSwappiness,
  disableOOMKiller: Field.MemDisableOomKiller,
  useHierarchy: Field.MemUseHierarchy,
} as const satisfies Record<keyof NonNullable<RuntimeResources["memory"]>, Field>;

const cpuFields = {
  shares: Field.CPUShares,
  quota: Field.CPUQuota,
  period: Field.CPUPeriod,
  realtimeRuntime: Field.CPURealtimeRuntime,
  realtimePeriod: Field.CPURealtimePeriod,
  cpus: Field.CPUSetCPUs,
  mems: Field.CPUSetMems,
} as const;

/** Claims the limits that a plugin sets. */
export function claimResources(
  owners: Owners,
  container: string,
  plugin: string,
  resources: RuntimeResources,
): void {
  for (const [name, field] of Object.entries(memoryFields))
    if (resources.memory && name in resources.memory) owners.claim(container, field, plugin);
  for (const [name, field] of Object.entries(cpuFields))
    if (resources.cpu && name in resources.cpu) owners.claim(container, field, plugin);
  for (const { pageSize } of resources.hugepageLimits ?? [])
    owners.claim(container, Field.HugepageLimits, plugin, pageSize);
  for (const file of Object.keys(resources.unified ?? {}))
    owners.claim(container, Field.CgroupsUnified, plugin, file);
  if (resources.pids) owners.claim(container, Field.PidsLimit, plugin);
}
