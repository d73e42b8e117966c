import { writeAtomic } from "@ocid/base";
import type { RuntimeResources } from "@ocid/spec";
import type { ShimFiles } from "./container-files.ts";
import { type InstalledRuntime, runRuntime } from "./runtimes.ts";
import type { CallOptions } from "./types.ts";

/** Changes limits of a container, which its runtime knows, and notes them in its configuration. */
export async function updateResources(
  shim: ShimFiles,
  runtime: InstalledRuntime,
  id: string,
  resources: RuntimeResources,
  options: CallOptions,
): Promise<void> {
  await runRuntime(runtime, ["update", "--resources", "-", id], {
    ...options,
    stdin: JSON.stringify(resources),
  });
  const spec = shim.readSpec(id);
  const merged = {
    ...spec.linux.resources,
    ...resources,
    memory: { ...spec.linux.resources?.memory, ...resources.memory },
    cpu: { ...spec.linux.resources?.cpu, ...resources.cpu },
  };
  await writeAtomic(
    shim.of(id).config,
    JSON.stringify({ ...spec, linux: { ...spec.linux, resources: merged } }),
  );
}
