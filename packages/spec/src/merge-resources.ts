import type { RuntimeResources } from "./runtime-spec.ts";

/** Limits with what changes; lists and maps are replaced entry by entry. */
export function mergeResources(old: RuntimeResources, next: RuntimeResources): RuntimeResources {
  const sizes = new Set((next.hugepageLimits ?? []).map(({ pageSize }) => pageSize));
  const huge = [
    ...(old.hugepageLimits ?? []).filter(({ pageSize }) => !sizes.has(pageSize)),
    ...(next.hugepageLimits ?? []),
  ];
  const devices = [...(old.devices ?? []), ...(next.devices ?? [])];
  return {
    ...old,
    ...(next.memory ? { memory: { ...old.memory, ...next.memory } } : {}),
    ...(next.cpu ? { cpu: { ...old.cpu, ...next.cpu } } : {}),
    ...(next.pids ? { pids: next.pids } : {}),
    ...(next.unified ? { unified: { ...old.unified, ...next.unified } } : {}),
    ...(huge.length > 0 ? { hugepageLimits: huge } : {}),
    ...(devices.length > 0 ? { devices } : {}),
  };
}
