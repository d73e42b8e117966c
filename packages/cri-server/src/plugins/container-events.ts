import { wrapError } from "@ocid/base";
import type { RuntimeResources, RuntimeSpec } from "@ocid/spec";
import { applyCdi } from "../cdi/apply-cdi.ts";
import type { Container, Sandbox } from "../records.ts";
import type { ServerContext } from "../server-context.ts";
import { describeContainer, describePod } from "./describe-pod.ts";
import { fitResources } from "./fit-resources.ts";
import type { PluginContainer, PluginPod, PluginPort } from "./plugin-port.ts";
import { fulfil } from "./wishes.ts";

/**
 * A container's configuration as plugins want it; rejects when one objects. To be followed by `containerIsMade`, or by
 * `tellOfUndone`.
 */
export async function askAboutContainer(
  context: ServerContext,
  sandbox: Sandbox,
  container: Container,
  spec: RuntimeSpec,
): Promise<RuntimeSpec> {
  const { plugins, ports, cdi } = context;
  if (!plugins.port) return spec;
  const pod = plugins.active && (await describePod(context, sandbox));
  // From here on, and in one go with the question, a plugin that connects is told of it by its synchronization.
  plugins.making.set(container.id, spec);
  if (!pod || !plugins.active) return spec;
  const result = await plugins.active.createContainer(pod, describeContainer(container, spec), {
    injectDevices: (before, names) => applyCdi(before, cdi.edits(names)),
  });
  await fulfil(context, result);
  if (result.spec === spec) return spec;
  const { process, linux } = result.spec;
  const resources = fitResources(context, container.id, linux.resources ?? {});
  if (linux.resources !== spec.linux.resources) {
    const { devices: _, ...limits } = resources;
    container.resources = limits;
  }
  const adjusted = {
    ...result.spec,
    process:
      process.oomScoreAdj === undefined
        ? process
        : { ...process, oomScoreAdj: Math.max(process.oomScoreAdj, ports.node.minOomScoreAdj()) },
    linux: { ...linux, resources },
  };
  plugins.making.set(container.id, adjusted);
  return adjusted;
}

export function containerIsMade({ plugins }: ServerContext, container: Container): void {
  plugins.making.delete(container.id);
}

/** A container that plugins have heard of could not be made. */
export async function tellOfUndone(context: ServerContext, container: Container): Promise<void> {
  const { plugins } = context;
  const spec = plugins.making.get(container.id);
  plugins.making.delete(container.id);
  if (spec === undefined || !plugins.active) return;
  const attempt = async (what: string, work: Told) => await tell(context, what, container, work, spec);
  await attempt("stop", (port, pod, described) => port.stopContainer(pod, described));
  await attempt("remove", (port, pod, described) => port.containerEvent("remove", pod, described));
}

/** Asks plugins before a container starts; rejects when one objects. */
export async function askToStart(context: ServerContext, container: Container): Promise<void> {
  const { plugins } = context;
  if (!plugins.active) return;
  const { pod, described } = await describe(context, container);
  await plugins.active?.containerEvent("start", pod, described);
}

/** New limits of a container as plugins want them; rejects when one objects. */
export async function askToUpdate(
  context: ServerContext,
  container: Container,
  resources: RuntimeResources,
): Promise<RuntimeResources> {
  const { plugins } = context;
  if (!plugins.active) return resources;
  const { pod, described } = await describe(context, container);
  const result = await plugins.active?.updateContainer(pod, described, resources);
  if (!result) return resources;
  await fulfil(context, result);
  return result.resources === resources ? resources : fitResources(context, container.id, result.resources);
}

/** Tells plugins what nobody can object to. */
export async function tellOfContainer(
  context: ServerContext,
  event: "postCreate" | "postStart" | "postUpdate" | "remove",
  container: Container,
): Promise<void> {
  if (event === "remove") context.plugins.ended.delete(container.id);
  if (!context.plugins.active) return;
  await tell(context, event, container, (port, pod, described) => port.containerEvent(event, pod, described));
}

/** Tells plugins that a container has ended: once, whoever sees it first, and back when they have heard. */
export async function tellOfEnd(context: ServerContext, container: Container): Promise<void> {
  const { plugins } = context;
  if (!plugins.port) return;
  const told = plugins.ended.get(container.id) ?? tellEnded(context, container);
  plugins.ended.set(container.id, told);
  await told;
}

async function tellEnded(context: ServerContext, container: Container): Promise<void> {
  if (!context.plugins.active) return;
  await tell(context, "stop", container, async (port, pod, described) =>
    fulfil(context, await port.stopContainer(pod, { ...described, state: "stopped" })),
  );
}

type Told = (port: PluginPort, pod: PluginPod, container: PluginContainer) => Promise<unknown>;

async function tell(
  context: ServerContext,
  what: string,
  container: Container,
  work: Told,
  spec?: RuntimeSpec,
): Promise<void> {
  try {
    const { pod, described } = await describe(context, container, spec);
    const port = context.plugins.active;
    if (port) await work(port, pod, described);
  } catch (error) {
    context.logger.warn("a plugin objects to what has happened to a container", {
      container: container.id,
      error: wrapError(what, error),
    });
  }
}

async function describe(
  context: ServerContext,
  container: Container,
  spec?: RuntimeSpec,
): Promise<{ readonly pod: PluginPod; readonly described: PluginContainer }> {
  const { records, ports } = context;
  const pod = await describePod(context, records.getSandbox(container.sandboxId));
  return {
    pod,
    described: describeContainer(container, spec ?? (await ports.runtime.specOf(container.id))),
  };
}
