import { wrapError } from "@ocid/base";
import type { RuntimeResources } from "@ocid/spec";
import type { Sandbox } from "../records.ts";
import type { ServerContext } from "../server-context.ts";
import { describePod } from "./describe-pod.ts";

/** Asks plugins about a pod that is all but ready; rejects when one objects. To be followed by `podIsMade`. */
export async function askAboutPod(context: ServerContext, sandbox: Sandbox): Promise<void> {
  const { plugins } = context;
  if (!plugins.port) return;
  const pod = plugins.active && (await describePod(context, sandbox));
  // From here on, and in one go with the question, a plugin that connects is told of it by its synchronization.
  plugins.running.add(sandbox);
  if (pod) await plugins.active?.podEvent("run", pod);
}

export function podIsMade({ plugins }: ServerContext, sandbox: Sandbox): void {
  plugins.running.delete(sandbox);
}

/** Asks plugins before a pod's limits change; rejects when one objects. */
export async function askToUpdatePod(
  context: ServerContext,
  sandbox: Sandbox,
  limits: { readonly overhead: RuntimeResources; readonly resources: RuntimeResources },
): Promise<void> {
  const { plugins } = context;
  if (!plugins.active) return;
  const pod = await describePod(context, sandbox);
  await plugins.active?.updatePod(pod, limits);
}

/** Tells plugins what nobody can object to: a pod ends whatever they say. */
export async function tellOfPod(
  context: ServerContext,
  event: "stop" | "remove" | "postUpdate",
  sandbox: Sandbox,
): Promise<void> {
  const { plugins, logger } = context;
  if (!plugins.active) return;
  await describePod(context, sandbox)
    .then(pod => plugins.active?.podEvent(event, pod))
    .catch(error =>
      logger.warn("a plugin objects to what has happened to a pod", {
        pod: sandbox.id,
        error: wrapError(event, error),
      }),
    );
}
