import type { Duplex } from "node:stream";
import { create, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { isOcidError, type Logger, messageOf, OcidError } from "@ocid/base";
import {
  type Container,
  ContainerSchema,
  type ContainerUpdate,
  Plugin,
  type PodSandbox,
  PodSandboxSchema,
  Runtime,
  type UpdateContainersRequest,
} from "./gen/nri_pb.js";
import { type EventMethod, eventMethods, everyEvent, subscribes } from "./plugin-events.ts";
import { connections, Peer } from "./wire/peer.ts";
import { maxMessageBytes } from "./wire/ttrpc-frames.ts";

/** The version of NRI that this runtime speaks, as plugins are told. */
const nriVersion = "v0.12.1";

export interface SessionOptions {
  readonly trunk: Duplex;
  /** Of a plugin that was launched; others say it themselves. */
  readonly identity?: { readonly index: string; readonly base: string } | undefined;
  readonly runtime: { readonly name: string; readonly version: string };
  readonly registrationTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly logger: Logger;
  /** Answers the plugin's own requests. */
  readonly onUpdate: (
    session: PluginSession,
    request: UpdateContainersRequest,
  ) => Promise<readonly ContainerUpdate[]>;
  readonly onClose: (session: PluginSession) => void;
}

/** A plugin that is connected. */
export class PluginSession {
  index = "";
  base = "";
  /** Fulfilled when it has been told of what there was when it came, or is closed; never rejects. */
  ready: Promise<void> = Promise.resolve();
  readonly #options: SessionOptions;
  readonly #peer: Peer<typeof Runtime>;
  readonly #registered: PromiseWithResolvers<void> = Promise.withResolvers();
  #events = 0;
  #hasRegistered = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#registered.promise.catch(() => {});
    this.#peer = new Peer({
      trunk: options.trunk,
      callsOn: connections.plugin,
      servesOn: connections.runtime,
      serves: Runtime,
      handlers: {
        registerPlugin: async ({ pluginName, pluginIdx, NRIVersion }) => {
          this.#register(pluginName, pluginIdx);
          options.logger.info("plugin registered", { plugin: this.name, nri: NRIVersion.slice(0, 50) });
          return {};
        },
        updateContainers: async request => {
          if (this.#events === 0)
            throw new OcidError("FAILED_PRECONDITION", "the plugin is not configured yet");
          return { failed: [...(await options.onUpdate(this, request))] };
        },
      },
      onClose: error => {
        this.#registered.reject(error ?? new OcidError("UNAVAILABLE", "the plugin closed its connection"));
        if (error) options.logger.error("plugin is cut off", { plugin: this.name, error });
        else options.logger.info("plugin has gone", { plugin: this.name });
        options.onClose(this);
      },
    });
  }

  /** `10-name`. */
  get name(): string {
    return this.base === "" ? "(not registered)" : `${this.index}-${this.base}`;
  }

  get isOpen(): boolean {
    return this.#peer.isOpen;
  }

  wants(method: EventMethod): boolean {
    return this.isOpen && subscribes(this.#events, method);
  }

  close(error?: OcidError): void {
    this.#peer.close(error);
  }

  /** Waits for the plugin's registration and configures it. Rejects, and closes it, when it does not do its part in time. */
  async configure(configOf: (index: string, base: string) => string): Promise<void> {
    const { registrationTimeoutMs, requestTimeoutMs, runtime } = this.#options;
    const timer = setTimeout(() => {
      const text = `the plugin did not register within ${registrationTimeoutMs} ms`;
      this.close(new OcidError("DEADLINE_EXCEEDED", text));
    }, registrationTimeoutMs);
    try {
      await this.#registered.promise;
    } finally {
      clearTimeout(timer);
    }
    try {
      const { events } = await this.#peer.call(
        Plugin.method.configure,
        {
          config: configOf(this.index, this.base),
          runtimeName: runtime.name,
          runtimeVersion: runtime.version,
          registrationTimeout: BigInt(registrationTimeoutMs),
          requestTimeout: BigInt(requestTimeoutMs),
          NRIVersion: nriVersion,
        },
        requestTimeoutMs,
      );
      if ((events & ~everyEvent) !== 0)
        throw new OcidError(
          "INVALID_ARGUMENT",
          `the plugin asks for events that are not known: 0x${(events >>> 0).toString(16)}`,
        );
      this.#events = events === 0 ? everyEvent : events;
    } catch (error) {
      this.close(isOcidError(error) ? error : undefined);
      throw error;
    }
  }

  /** Tells the plugin of all pods and containers, in several requests where one would be too large. Returns its updates. */
  async synchronize(
    pods: readonly PodSandbox[],
    containers: readonly Container[],
  ): Promise<readonly ContainerUpdate[]> {
    const parts = splitState(pods, containers);
    const { registrationTimeoutMs, requestTimeoutMs } = this.#options;
    // It is the last step of joining, and the only one that grows with the node.
    const timeoutMs = Math.max(registrationTimeoutMs, requestTimeoutMs);
    for (const [at, part] of parts.entries()) {
      const more = at < parts.length - 1;
      const answer = await this.#peer.call(Plugin.method.synchronize, { ...part, more }, timeoutMs);
      if (!more) return answer.update;
      if (!answer.more || answer.update.length > 0)
        throw new OcidError(
          "RESOURCE_EXHAUSTED",
          "there are more pods than the plugin can be told of: it does not take them in several requests",
        );
    }
    return [];
  }

  async shutdown(): Promise<void> {
    if (this.isOpen) await this.#peer.call(Plugin.method.shutdown, {}, this.#options.requestTimeoutMs);
  }

  /**
   * Asks the plugin, if it wants to be asked. Undefined when it does not, or when it breaks: it is closed then, with a
   * line of log. Rejects with what the plugin answers as an error, which names it.
   */
  async ask<M extends EventMethod>(
    method: M,
    request: MessageInitShape<(typeof Plugin.method)[M]["input"]>,
  ): Promise<MessageShape<(typeof Plugin.method)[M]["output"]> | undefined> {
    await this.ready;
    if (!this.wants(method)) return undefined;
    try {
      return (await this.#ask(method, request)) as MessageShape<(typeof Plugin.method)[M]["output"]>;
    } catch (error) {
      if (!this.#peer.isOpen) return undefined;
      if (isOcidError(error) && (error.reason === "NoAnswer" || error.reason === "Malformed")) {
        this.close(error);
        return undefined;
      }
      throw new OcidError(
        isOcidError(error) ? error.code : "INTERNAL",
        `plugin ${this.name}: ${Plugin.method[method].name}: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  async #ask(method: EventMethod, request: object): Promise<unknown> {
    const { requestTimeoutMs } = this.#options;
    try {
      return await this.#peer.call(Plugin.method[method], request, requestTimeoutMs);
    } catch (error) {
      const { event, stateChange } = eventMethods[method];
      if (!stateChange || !isOcidError(error, "UNIMPLEMENTED")) throw error;
      const { pod, container } = request as { pod?: PodSandbox; container?: Container };
      await this.#peer.call(
        Plugin.method.stateChange,
        { event, ...(pod ? { pod } : {}), ...(container ? { container } : {}) },
        requestTimeoutMs,
      );
      return create(Plugin.method[method].output);
    }
  }

  #register(name: string, index: string): void {
    if (this.#hasRegistered) throw new OcidError("ALREADY_EXISTS", "the plugin has registered already");
    const { identity } = this.#options;
    if (!identity && (!/^[\w.+-]{1,128}$/.test(name) || !/^\d\d$/.test(index))) {
      const error = new OcidError(
        "INVALID_ARGUMENT",
        `a plugin has an index of two digits and a name, not ${JSON.stringify(index.slice(0, 20))} and ${JSON.stringify(name.slice(0, 100))}`,
      );
      this.#registered.reject(error);
      setImmediate(() => this.close(error));
      throw error;
    }
    this.#hasRegistered = true;
    this.index = identity?.index ?? index;
    this.base = identity?.base ?? name;
    this.#registered.resolve();
  }
}

/** Room for the frames and the request around pods and containers. */
const maxPartBytes = maxMessageBytes - 64 * 1024;
const entryBytes = 8;

interface StatePart {
  readonly pods: PodSandbox[];
  readonly containers: Container[];
}

function splitState(pods: readonly PodSandbox[], containers: readonly Container[]): readonly StatePart[] {
  const parts: StatePart[] = [{ pods: [], containers: [] }];
  let size = 0;
  const place = (bytes: number): StatePart => {
    if (size > 0 && size + bytes + entryBytes > maxPartBytes) {
      parts.push({ pods: [], containers: [] });
      size = 0;
    }
    size += bytes + entryBytes;
    return parts.at(-1)!;
  };
  for (const pod of pods) place(toBinary(PodSandboxSchema, pod).byteLength).pods.push(pod);
  for (const container of containers)
    place(toBinary(ContainerSchema, container).byteLength).containers.push(container);
  return parts;
}
