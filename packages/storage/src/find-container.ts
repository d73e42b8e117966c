import type { ContainerRecord } from "./container-records.ts";

/** The container that a user means: by id, name, or a prefix that only one id has. */
export function findContainer(
  containers: readonly ContainerRecord[],
  reference: string,
): ContainerRecord | undefined {
  const exact =
    containers.find(container => container.id === reference) ??
    containers.find(container => container.names.includes(reference));
  if (exact || reference === "") return exact;
  const [first, ...others] = containers.filter(container => container.id.startsWith(reference));
  return others.length === 0 ? first : undefined;
}
