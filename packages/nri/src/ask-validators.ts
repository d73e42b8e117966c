import { isOcidError, OcidError } from "@ocid/base";
import { mergeAdjustments } from "./adjust/merge.ts";
import type { Owners } from "./adjust/owners.ts";
import { containerMessage, podMessage } from "./describe.ts";
import type { ContainerAdjustment } from "./gen/nri_pb.js";
import type { PluginSession } from "./plugin-session.ts";
import { resourcesMessage } from "./resources.ts";
import type { NriContainer, NriPod, Wishes } from "./types.ts";

/** What the plugins have made of a container that is about to be created. */
export interface Outcome {
  readonly owners: Owners;
  readonly adjusts: readonly ContainerAdjustment[];
  /** Those that were asked to adjust. */
  readonly asked: readonly PluginSession[];
  readonly wishes: Wishes;
}

/**
 * Asks all plugins that validate whether the outcome may be. FAILED_PRECONDITION when one rejects it, or is cut off:
 * what nobody could look at does not pass.
 */
export async function askValidators(
  plugins: readonly PluginSession[],
  pod: NriPod,
  container: NriContainer,
  outcome: Outcome,
): Promise<void> {
  const validators = plugins.filter(plugin => plugin.wants("validateContainerAdjustment"));
  if (validators.length === 0) return;
  const request = {
    pod: podMessage(pod),
    container: containerMessage(container),
    adjust: mergeAdjustments(outcome.adjusts),
    update: outcome.wishes.updates.map(({ containerId, resources, ignoreFailure }) => ({
      containerId,
      linux: { resources: resourcesMessage(resources) },
      ignoreFailure,
    })),
    owners: outcome.owners.message(),
    plugins: outcome.asked.map(({ base, index }) => ({ name: base, index })),
  };
  await Promise.all(
    validators.map(async validator => {
      const answer = await validator.ask("validateContainerAdjustment", request).catch(error => {
        if (isOcidError(error, "UNIMPLEMENTED")) return { reject: false, reason: "" };
        throw error;
      });
      if (!answer)
        throw new OcidError("FAILED_PRECONDITION", `validator ${validator.name} failed; see the log`);
      if (answer.reject)
        throw new OcidError(
          "FAILED_PRECONDITION",
          `validator ${validator.name} rejected the container's adjustment: ${answer.reason.slice(0, 1024) || "it gave no reason"}`,
        );
    }),
  );
}
