import { mergeResources, type RuntimeResources, type RuntimeSpec } from "@ocid/spec";
import type { ContainerAdjustment } from "../gen/nri_pb.js";
import { runtimeResources } from "../resources.ts";
import { adjustHooks } from "./apply-hooks.ts";
import { adjustLinux } from "./apply-linux.ts";
import { adjustMounts } from "./apply-mounts.ts";
import { adjustProcess } from "./apply-process.ts";
import { adjustMap, markedMap } from "./removal.ts";

/** Adds CDI devices to a configuration, by their names. */
export type InjectDevices = (spec: RuntimeSpec, names: readonly string[]) => RuntimeSpec;

/**
 * A runtime configuration with what a plugin adjusts. What CDI devices bring comes before the plugin's own devices and
 * mounts. INVALID_ARGUMENT names what cannot be in a configuration.
 */
export function applyAdjustment(
  spec: RuntimeSpec,
  adjust: ContainerAdjustment,
  injectDevices: InjectDevices,
): RuntimeSpec {
  const annotated: RuntimeSpec = {
    ...spec,
    annotations: adjustMap(spec.annotations ?? {}, markedMap(adjust.annotations)),
    process: adjustProcess(spec.process, adjust),
    ...(adjust.hooks ? { hooks: adjustHooks(spec.hooks ?? {}, adjust.hooks) } : {}),
  };
  const names = adjust.CDIDevices.map(({ name }) => name);
  const injected = names.length > 0 ? injectDevices(annotated, names) : annotated;
  const { linux } = adjust;
  const limited = linux
    ? {
        ...injected,
        linux: adjustLinux(
          {
            ...injected.linux,
            resources: mergeResources(
              injected.linux.resources ?? {},
              withSwap(runtimeResources(linux.resources)),
            ),
          },
          linux,
        ),
      }
    : injected;
  return adjust.mounts.length > 0 ? adjustMounts(limited, adjust.mounts) : limited;
}

/** Without a word on swap a container may not swap beyond its memory. */
function withSwap(resources: RuntimeResources): RuntimeResources {
  const { memory } = resources;
  if (memory?.limit === undefined || memory.swap !== undefined) return resources;
  return { ...resources, memory: { ...memory, swap: memory.limit } };
}
