import { OcidError } from "@ocid/base";
import { mergeResources } from "@ocid/spec";
import type {
  ContainerEviction as EvictionMessage,
  ContainerUpdate as UpdateMessage,
} from "../gen/nri_pb.js";
import { runtimeResources } from "../resources.ts";
import type { ContainerEviction, ContainerUpdate, Wishes } from "../types.ts";
import { claimResources } from "./claim.ts";
import { Owners } from "./owners.ts";

/** Gathers what the plugins that are asked about something want of containers; two must not set the same limit. */
export class WishList {
  readonly #updates = new Map<string, ContainerUpdate>();
  readonly #evictions = new Map<string, ContainerEviction>();
  readonly #owners: Owners;

  constructor(owners: Owners = new Owners()) {
    this.#owners = owners;
  }

  /** `forbidden` is the container that is being made, which can only be adjusted. */
  add(
    plugin: string,
    updates: readonly UpdateMessage[],
    evictions: readonly EvictionMessage[],
    forbidden?: string,
  ): void {
    for (const message of updates) {
      const update = parseUpdate(message);
      const { containerId } = update;
      if (containerId === forbidden)
        throw new OcidError(
          "FAILED_PRECONDITION",
          `plugin ${JSON.stringify(plugin)} asked for an update of ${containerId} during its creation`,
        );
      try {
        claimResources(this.#owners, containerId, plugin, update.resources);
      } catch (error) {
        if (update.ignoreFailure) continue;
        throw error;
      }
      const old = this.#updates.get(containerId);
      this.#updates.set(containerId, {
        containerId,
        resources: mergeResources(old?.resources ?? {}, update.resources),
        ignoreFailure: update.ignoreFailure && (old?.ignoreFailure ?? true),
      });
    }
    for (const eviction of evictions.map(parseEviction)) this.#evictions.set(eviction.containerId, eviction);
  }

  /** What is wanted of a container; it is not among the others any more. */
  take(containerId: string): ContainerUpdate | undefined {
    const update = this.#updates.get(containerId);
    this.#updates.delete(containerId);
    return update;
  }

  wishes(): Wishes {
    return { updates: [...this.#updates.values()], evictions: [...this.#evictions.values()] };
  }
}

function parseUpdate({ containerId, linux, ignoreFailure }: UpdateMessage): ContainerUpdate {
  return { containerId: checkId(containerId), resources: runtimeResources(linux?.resources), ignoreFailure };
}

function parseEviction({ containerId, reason }: EvictionMessage): ContainerEviction {
  return { containerId: checkId(containerId), reason: reason.slice(0, 1024) };
}

function checkId(id: string): string {
  if (!/^[\w.-]{1,256}$/.test(id))
    throw new OcidError("INVALID_ARGUMENT", `not the id of a container: ${JSON.stringify(id.slice(0, 100))}`);
  return id;
}
