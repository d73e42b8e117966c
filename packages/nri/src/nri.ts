import { isOcidError, messageOf, OcidError, Semaphore } from "@ocid/base";
import { mergeResources, type RuntimeResources, type RuntimeSpec } from "@ocid/spec";
import { applyAdjustment, type InjectDevices } from "./adjust/apply.ts";
import { claimAdjustment, claimResources } from "./adjust/claim.ts";
import { Owners } from "./adjust/owners.ts";
import { WishList } from "./adjust/wishes.ts";
import { askValidators } from "./ask-validators.ts";
import { validateByDefault } from "./default-validator.ts";
import { containerMessage, podMessage } from "./describe.ts";
import type { ContainerAdjustment } from "./gen/nri_pb.js";
import type { EventMethod } from "./plugin-events.ts";
import { PluginRoster } from "./plugin-roster.ts";
import type { PluginSession } from "./plugin-session.ts";
import { resourcesMessage } from "./resources.ts";
import type {
  ContainerEvent,
  CreateResult,
  NriContainer,
  NriHost,
  NriOptions,
  NriPod,
  PodEvent,
  UpdateResult,
  ValidatorOptions,
  Wishes,
} from "./types.ts";

const podMethods = {
  run: "runPodSandbox",
  postUpdate: "postUpdatePodSandbox",
  stop: "stopPodSandbox",
  remove: "removePodSandbox",
} as const satisfies Record<PodEvent, EventMethod>;

const containerMethods = {
  postCreate: "postCreateContainer",
  start: "startContainer",
  postStart: "postStartContainer",
  postUpdate: "postUpdateContainer",
  remove: "removeContainer",
} as const satisfies Record<ContainerEvent, EventMethod>;

/**
 * The runtime's side of the Node Resource Interface. Plugins are asked one after the other in the order of their
 * indices, about one request at a time. A plugin that answers with an error makes the request fail; one that breaks, or
 * does not answer in time, is cut off and the request goes on without it.
 */
export class Nri implements AsyncDisposable {
  readonly #validator: ValidatorOptions | undefined;
  readonly #roster: PluginRoster;
  readonly #turn = new Semaphore(1);

  constructor(options: NriOptions) {
    this.#validator = options.validator;
    this.#roster = new PluginRoster(options);
  }

  /** Whether anybody is to be asked about anything; while not, no other method needs to be called. */
  get active(): boolean {
    return this.#roster.plugins.length > 0 || this.#validator !== undefined;
  }

  /** Names of the plugins that are asked, in their order. */
  get plugins(): readonly string[] {
    return this.#roster.plugins.map(plugin => plugin.name);
  }

  /** Starts the installed plugins, then lets others connect; what cannot be done of it is a line of log. */
  async start(host: NriHost): Promise<void> {
    await this.#roster.start(host);
  }

  async podEvent(event: PodEvent, pod: NriPod): Promise<void> {
    await this.#relay(podMethods[event], plugin => plugin.ask(podMethods[event], { pod: podMessage(pod) }));
  }

  /** Before a pod's limits change. */
  async updatePod(
    pod: NriPod,
    limits: { readonly overhead?: RuntimeResources; readonly resources?: RuntimeResources },
  ): Promise<void> {
    const request = {
      pod: podMessage(pod),
      overheadLinuxResources: resourcesMessage(limits.overhead ?? {}),
      linuxResources: resourcesMessage(limits.resources ?? {}),
    };
    await this.#relay("updatePodSandbox", plugin => plugin.ask("updatePodSandbox", request));
  }

  async containerEvent(event: ContainerEvent, pod: NriPod, container: NriContainer): Promise<void> {
    const request = { pod: podMessage(pod), container: containerMessage(container) };
    const method = containerMethods[event];
    await this.#relay(method, plugin => plugin.ask(method, request));
  }

  /**
   * Asks about a container that is about to be made. Each plugin sees what those before it have adjusted. Rejects when a
   * plugin refuses, when two adjust the same (FAILED_PRECONDITION), when a validator refuses the outcome, or when an
   * adjustment cannot be in a runtime's configuration (INVALID_ARGUMENT).
   */
  async createContainer(
    pod: NriPod,
    container: NriContainer,
    options: { readonly injectDevices: InjectDevices },
  ): Promise<CreateResult> {
    const owners = new Owners();
    const wishes = new WishList(owners);
    const adjusts: ContainerAdjustment[] = [];
    const asked: PluginSession[] = [];
    let spec: RuntimeSpec = container.spec;
    await this.#relay(
      "createContainer",
      async plugin => {
        const now = { ...container, spec };
        const request = { pod: podMessage(pod), container: containerMessage(now) };
        const answer = await plugin.ask("createContainer", request);
        asked.push(plugin);
        if (!answer) return;
        named(plugin, () => {
          if (answer.adjust) {
            claimAdjustment(owners, container.id, plugin.name, answer.adjust);
            spec = applyAdjustment(spec, answer.adjust, options.injectDevices);
            adjusts.push(answer.adjust);
          }
          wishes.add(plugin.name, answer.update, answer.evict, container.id);
        });
      },
      async plugins => {
        if (this.#validator) validateByDefault(this.#validator, { pod, container, owners, plugins: asked });
        await askValidators(plugins, pod, container, { owners, adjusts, asked, wishes: wishes.wishes() });
      },
    );
    return { spec, ...wishes.wishes() };
  }

  /** Asks about new limits of a container; plugins may change them. */
  async updateContainer(
    pod: NriPod,
    container: NriContainer,
    resources: RuntimeResources,
  ): Promise<UpdateResult> {
    const wishes = new WishList();
    const owners = new Owners();
    let wanted = resources;
    await this.#relay("updateContainer", async plugin => {
      const answer = await plugin.ask("updateContainer", {
        pod: podMessage(pod),
        container: containerMessage(container),
        linuxResources: resourcesMessage(wanted),
      });
      if (!answer) return;
      named(plugin, () => {
        wishes.add(plugin.name, answer.update, answer.evict);
        const own = wishes.take(container.id);
        if (!own) return;
        claimResources(owners, container.id, plugin.name, own.resources);
        wanted = mergeResources(wanted, own.resources);
      });
    });
    return { resources: wanted, ...wishes.wishes() };
  }

  /** Tells that a container has stopped. */
  async stopContainer(pod: NriPod, container: NriContainer): Promise<Wishes> {
    const wishes = new WishList();
    const request = { pod: podMessage(pod), container: containerMessage(container) };
    await this.#relay("stopContainer", async plugin => {
      const answer = await plugin.ask("stopContainer", request);
      if (answer) named(plugin, () => wishes.add(plugin.name, answer.update, []));
    });
    return wishes.wishes();
  }

  /** Tells plugins that the runtime goes, and ends those that it has started. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#roster[Symbol.asyncDispose]();
  }

  /** Who is asked is settled before this first gives way: a plugin that comes later knows by its synchronization. */
  async #relay(
    method: EventMethod,
    ask: (plugin: PluginSession) => Promise<unknown>,
    conclude?: (plugins: readonly PluginSession[]) => Promise<void>,
  ): Promise<void> {
    const { plugins } = this.#roster;
    if (plugins.length === 0 && !conclude) return;
    if (!conclude && !plugins.some(plugin => plugin.wants(method))) return;
    await this.#turn.run(async () => {
      for (const plugin of plugins) await ask(plugin);
      await conclude?.(plugins);
    });
  }
}

/** Makes an error of what a plugin has answered name the plugin. */
function named(plugin: PluginSession, work: () => void): void {
  try {
    work();
  } catch (error) {
    const code = isOcidError(error) ? error.code : "INTERNAL";
    throw new OcidError(code, `plugin ${plugin.name}: ${messageOf(error)}`, { cause: error });
  }
}
