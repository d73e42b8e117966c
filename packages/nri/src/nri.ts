import type { Server, Socket } from "node:net";
import { isOcidError, type Logger, messageOf, OcidError, Semaphore, silentLogger } from "@ocid/base";
import type { SpawnedProcess } from "@ocid/host";
import { mergeResources, type RuntimeResources, type RuntimeSpec } from "@ocid/spec";
import { applyAdjustment, type InjectDevices } from "./adjust/apply.ts";
import { claimAdjustment, claimResources } from "./adjust/claim.ts";
import { mergeAdjustments } from "./adjust/merge.ts";
import { Owners } from "./adjust/owners.ts";
import { WishList } from "./adjust/wishes.ts";
import { validateByDefault } from "./default-validator.ts";
import { containerMessage, podMessage } from "./describe.ts";
import type { ContainerAdjustment, ContainerUpdate as UpdateMessage } from "./gen/nri_pb.js";
import { findPlugins, launchPlugin, pluginConfig } from "./installed-plugins.ts";
import type { EventMethod } from "./plugin-events.ts";
import { PluginSession } from "./plugin-session.ts";
import { listenForPlugins } from "./plugin-socket.ts";
import { resourcesMessage } from "./resources.ts";
import type {
  ContainerEvent,
  CreateResult,
  NriContainer,
  NriHost,
  NriPod,
  PodEvent,
  UpdateResult,
  ValidatorOptions,
  Wishes,
} from "./types.ts";

export interface NriOptions {
  /** Where plugins connect; undefined lets none connect. */
  readonly socketPath?: string | undefined;
  /** Programs `NN-name` here are started as plugins. */
  readonly pluginPath?: string | undefined;
  /** `NN-name.conf` and `name.conf` here are given to plugins as their configuration. */
  readonly pluginConfigPath?: string | undefined;
  /** Time that a plugin has to register, and for each part of its synchronization. Default 5 s. */
  readonly registrationTimeoutMs?: number;
  /** Time that a plugin has for any request; one that takes longer is cut off. Default 2 s. */
  readonly requestTimeoutMs?: number;
  /** Adjustments that are refused whoever wants them; undefined refuses none. */
  readonly validator?: ValidatorOptions | undefined;
  /** Told to plugins. */
  readonly runtime: { readonly name: string; readonly version: string };
  readonly logger?: Logger;
}

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

const maxConnections = 64;

/**
 * The runtime's side of the Node Resource Interface. Plugins are asked one after the other in the order of their
 * indices, about one request at a time. A plugin that answers with an error makes the request fail; one that breaks, or
 * does not answer in time, is cut off and the request goes on without it.
 */
export class Nri implements AsyncDisposable {
  readonly #options: NriOptions;
  readonly #logger: Logger;
  readonly #turn = new Semaphore(1);
  readonly #connected = new Set<PluginSession>();
  readonly #processes = new Map<PluginSession, SpawnedProcess>();
  #plugins: readonly PluginSession[] = [];
  #host: NriHost | undefined;
  #server: Server | undefined;

  constructor(options: NriOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
  }

  /** Whether anybody is to be asked about anything; while not, no other method needs to be called. */
  get active(): boolean {
    return this.#plugins.length > 0 || this.#options.validator !== undefined;
  }

  /** Names of the plugins that are asked, in their order. */
  get plugins(): readonly string[] {
    return this.#plugins.map(plugin => plugin.name);
  }

  /**
   * Starts the installed plugins, and listens for others when those are there or have failed. A plugin that cannot be
   * started, and a socket that another runtime serves, are lines of log.
   */
  async start(host: NriHost): Promise<void> {
    this.#host = host;
    const { pluginPath, socketPath } = this.#options;
    const installed = pluginPath === undefined ? [] : findPlugins(pluginPath, this.#logger);
    await Promise.all(
      installed.map(async plugin => {
        try {
          const { process, trunk } = launchPlugin(plugin);
          const session = this.#open(trunk, plugin);
          this.#processes.set(session, process);
          void process.exited.then(() => session.close());
          await this.#admit(session);
        } catch (error) {
          this.#logger.warn("an installed plugin cannot be started", { path: plugin.path, error });
        }
      }),
    );
    if (socketPath === undefined) return;
    try {
      this.#server = await listenForPlugins(socketPath, socket => this.#accept(socket));
      this.#logger.info("plugins can connect", { socket: socketPath });
    } catch (error) {
      this.#logger.error("plugins cannot connect", { socket: socketPath, error });
    }
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
      plugins => this.#validate(pod, container, { owners, adjusts, asked, wishes: wishes.wishes(), plugins }),
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
    this.#server?.close();
    const processes = [...this.#processes.values()];
    await Promise.all(
      [...this.#connected].map(async plugin => {
        await plugin.shutdown().catch(() => {});
        plugin.close();
      }),
    );
    for (const process of processes) process.kill("SIGKILL");
    await Promise.all(processes.map(process => process.exited));
  }

  /** Who is asked is settled before this first gives way: a plugin that comes later knows by its synchronization. */
  async #relay(
    method: EventMethod,
    ask: (plugin: PluginSession) => Promise<unknown>,
    conclude?: (plugins: readonly PluginSession[]) => Promise<void>,
  ): Promise<void> {
    const plugins = this.#plugins;
    if (plugins.length === 0 && !conclude) return;
    if (!conclude && !plugins.some(plugin => plugin.wants(method))) return;
    await this.#turn.run(async () => {
      for (const plugin of plugins) await ask(plugin);
      await conclude?.(plugins);
    });
  }

  async #validate(
    pod: NriPod,
    container: NriContainer,
    outcome: {
      readonly owners: Owners;
      readonly adjusts: readonly ContainerAdjustment[];
      readonly asked: readonly PluginSession[];
      readonly wishes: Wishes;
      readonly plugins: readonly PluginSession[];
    },
  ): Promise<void> {
    const { owners, asked } = outcome;
    const { validator } = this.#options;
    if (validator) validateByDefault(validator, { pod, container, owners, plugins: asked });
    const judges = outcome.plugins.filter(plugin => plugin.wants("validateContainerAdjustment"));
    if (judges.length === 0) return;
    const request = {
      pod: podMessage(pod),
      container: containerMessage(container),
      adjust: mergeAdjustments(outcome.adjusts),
      update: outcome.wishes.updates.map(({ containerId, resources, ignoreFailure }) => ({
        containerId,
        linux: { resources: resourcesMessage(resources) },
        ignoreFailure,
      })),
      owners: owners.message(),
      plugins: asked.map(({ base, index }) => ({ name: base, index })),
    };
    await Promise.all(
      judges.map(async judge => {
        const answer = await judge.ask("validateContainerAdjustment", request).catch(error => {
          if (isOcidError(error, "UNIMPLEMENTED")) return { reject: false, reason: "" };
          throw error;
        });
        if (!answer)
          throw new OcidError("FAILED_PRECONDITION", `validator ${judge.name} failed; see the log`);
        if (answer.reject)
          throw new OcidError(
            "FAILED_PRECONDITION",
            `validator ${judge.name} rejected the container's adjustment: ${answer.reason.slice(0, 1024) || "it gave no reason"}`,
          );
      }),
    );
  }

  #accept(socket: Socket): void {
    if (this.#connected.size >= maxConnections) {
      this.#logger.error("too many plugins; one more is turned away", { connected: this.#connected.size });
      socket.destroy();
      return;
    }
    const session = this.#open(socket);
    this.#admit(session).catch(error =>
      this.#logger.error("a plugin cannot be used", { plugin: session.name, error }),
    );
  }

  #open(trunk: Socket, identity?: { readonly index: string; readonly base: string }): PluginSession {
    const session = new PluginSession({
      trunk,
      identity,
      runtime: this.#options.runtime,
      registrationTimeoutMs: this.#options.registrationTimeoutMs ?? 5_000,
      requestTimeoutMs: this.#options.requestTimeoutMs ?? 2_000,
      logger: this.#logger,
      onUpdate: async (plugin, { update, evict }) => {
        this.#logger.info("plugin wants containers updated", { plugin: plugin.name, count: update.length });
        const wishes = new WishList();
        wishes.add(plugin.name, update, evict);
        return await this.#fulfil(wishes.wishes());
      },
      onClose: plugin => {
        this.#connected.delete(plugin);
        this.#plugins = this.#plugins.filter(other => other !== plugin);
        this.#processes.get(plugin)?.kill("SIGKILL");
        this.#processes.delete(plugin);
      },
    });
    this.#connected.add(session);
    return session;
  }

  /** Makes a connection one of the plugins: those that are asked from now on wait until it knows what there is. */
  async #admit(session: PluginSession): Promise<void> {
    const { pluginConfigPath } = this.#options;
    await session.configure((index, base) =>
      pluginConfigPath === undefined ? "" : pluginConfig(pluginConfigPath, index, base),
    );
    const state = this.#host!.state();
    this.#plugins = [...this.#plugins, session].sort((a, b) => Number(a.index) - Number(b.index));
    const synchronized = this.#synchronize(session, state);
    session.ready = synchronized.then(
      () => {},
      () => {},
    );
    await synchronized;
    this.#logger.info("plugin synchronized", { plugin: session.name, order: this.plugins.join(" ") });
  }

  async #synchronize(session: PluginSession, state: ReturnType<NriHost["state"]>): Promise<void> {
    try {
      const { pods, containers } = await state;
      const updates = await session.synchronize(pods.map(podMessage), containers.map(containerMessage));
      const wishes = new WishList();
      wishes.add(session.name, updates, []);
      // Not awaited: a container that takes long to change must not keep others from being made.
      void this.#fulfil(wishes.wishes());
    } catch (error) {
      session.close(
        new OcidError("ABORTED", `cannot synchronize plugin ${session.name}: ${messageOf(error)}`),
      );
      throw error;
    }
  }

  async #fulfil(wishes: Wishes): Promise<UpdateMessage[]> {
    if (wishes.updates.length === 0 && wishes.evictions.length === 0) return [];
    const failed = await this.#host!.fulfil(wishes);
    return failed.map(({ containerId, resources, ignoreFailure }) => ({
      $typeName: "nri.pkg.api.v1alpha1.ContainerUpdate",
      containerId,
      ignoreFailure,
      linux: {
        $typeName: "nri.pkg.api.v1alpha1.LinuxContainerUpdate",
        resources: resourcesMessage(resources),
      },
    }));
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
