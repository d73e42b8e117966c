import { mergeResources, type RuntimeResources, type RuntimeSpec } from "@ocid/spec";
import { applyCdi } from "./cdi/apply-cdi.ts";
import { cdiNames } from "./cdi/cdi-names.ts";
import { noteLimits } from "./plugins/note-limits.ts";
import type { Container, Sandbox } from "./records.ts";
import type { ServerContext } from "./server-context.ts";
import { workloadCpu } from "./workloads.ts";

/** A container's configuration with what this node brings to it: its pod's workload, CDI devices, hooks. */
export async function adjustForNode(
  context: ServerContext,
  sandbox: Sandbox,
  container: Container,
  spec: RuntimeSpec,
): Promise<RuntimeSpec> {
  const { config } = container;
  const cpu = pinnedCpu(context, sandbox, config.metadata!.name);
  if (cpu) noteLimits(container, { cpu });
  const { hooks, ...adjusted } = applyCdi(withCpu(spec, cpu), context.cdi.edits(cdiNames(config)));
  const all = await context.hooks.withHooks(hooks, {
    annotations: { ...config.annotations, ...sandbox.config.annotations },
    command: adjusted.process.args[0] ?? "",
    hasBindMounts: config.mounts.some(({ hostPath }) => hostPath !== ""),
  });
  return { ...adjusted, ...(all ? { hooks: all } : {}) };
}

/** The processors to which a container is pinned by its pod's workload, or `POD`, the pause process. */
export function pinnedCpu(
  { workloads }: ServerContext,
  sandbox: Sandbox,
  container: string,
): RuntimeResources["cpu"] {
  return workloadCpu(workloads(), sandbox.config.annotations, container);
}

export function withCpu(spec: RuntimeSpec, cpu: RuntimeResources["cpu"]): RuntimeSpec {
  if (!cpu) return spec;
  const resources = mergeResources(spec.linux.resources ?? {}, { cpu });
  return { ...spec, linux: { ...spec.linux, resources } };
}
