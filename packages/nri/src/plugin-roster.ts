import type { Server, Socket } from "node:net";
import { type Logger, messageOf, OcidError, silentLogger } from "@ocid/base";
import type { SpawnedProcess } from "@ocid/host";
import { WishList } from "./adjust/wishes.ts";
import { containerMessage, podMessage } from "./describe.ts";
import type { ContainerUpdate as UpdateMessage } from "./gen/nri_pb.js";
import { findPlugins, launchPlugin, pluginConfig } from "./installed-plugins.ts";
import { PluginSession } from "./plugin-session.ts";
import { listenForPlugins } from "./plugin-socket.ts";
import { resourcesMessage } from "./resources.ts";
import type { NriHost, NriOptions, Wishes } from "./types.ts";

const maxConnections = 64;

/** The plugins: installed ones that are started here, and those that connect. */
export class PluginRoster implements AsyncDisposable {
  readonly #options: NriOptions;
  readonly #logger: Logger;
  readonly #connected = new Set<PluginSession>();
  readonly #processes = new Map<PluginSession, SpawnedProcess>();
  #plugins: readonly PluginSession[] = [];
  #host: NriHost | undefined;
  #server: Server | undefined;

  constructor(options: NriOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
  }

  /** Those that are asked, in the order of their indices. The list never changes: another takes its place. */
  get plugins(): readonly PluginSession[] {
    return this.#plugins;
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
    this.#logger.info("plugin synchronized", {
      plugin: session.name,
      order: this.#plugins.map(({ name }) => name).join(" "),
    });
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
