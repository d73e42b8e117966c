import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import {
  KeyedLock,
  type Logger,
  OcidError,
  silentLogger,
  sweepAtomic,
  wrapError,
  writeAtomic,
} from "@ocid/base";
import { generateNetwork, parsePodCidrs } from "./generated-network.ts";
import { loadNetwork, type NetworkList, type PluginConfig, parseNetwork } from "./network-list.ts";
import { type Attachment, findPlugin, runPlugin } from "./plugin.ts";

export interface CniOptions {
  readonly configDir: string;
  readonly pluginDirs: readonly string[];
  /** Where results are kept until they are undone; must survive the program. */
  readonly cacheDir: string;
  /** Of Go's text/template with `.PodCIDR`, `.PodCIDRRanges` and `.Routes`: what `configure` makes a configuration of. */
  readonly configTemplate?: string | undefined;
  readonly logger?: Logger;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface PodNetworkRequest {
  readonly sandboxId: string;
  readonly netnsPath: string;
  readonly podName: string;
  readonly podNamespace: string;
  readonly podUid: string;
  readonly portMappings: readonly {
    readonly hostPort: number;
    readonly containerPort: number;
    readonly protocol: "tcp" | "udp" | "sctp";
    readonly hostIP?: string;
  }[];
  readonly dns?: {
    readonly servers: readonly string[];
    readonly searches: readonly string[];
    readonly options: readonly string[];
  };
  readonly cgroupPath?: string;
}

/** What is kept of an attachment: enough to undo it when its configuration has changed or gone. */
interface CachedAttachment {
  readonly network: NetworkList;
  readonly runtimeConfig: Readonly<Record<string, unknown>>;
  readonly result: unknown;
}

const interfaceName = "eth0";

/** Opens a CNI client; configuration is read at each use, so that an operator's change counts at once. */
export async function openCni(options: CniOptions): Promise<Cni> {
  mkdirSync(options.cacheDir, { recursive: true, mode: 0o700 });
  await sweepAtomic(options.cacheDir);
  return new Cni(options);
}

/** Attaches pods to the node's network through CNI plugins (CNI spec 1.1). */
export class Cni {
  readonly #options: CniOptions;
  readonly #logger: Logger;
  readonly #locks = new KeyedLock();

  /** @internal */
  constructor(options: CniOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
  }

  /** Rejects with what is missing when no pod could be given a network: UNAVAILABLE or FAILED_PRECONDITION. */
  async status(): Promise<void> {
    const network = loadNetwork(this.#options.configDir);
    for (const plugin of network.plugins) findPlugin(plugin.type, this.#options.pluginDirs);
  }

  /**
   * Tells the pods' address ranges, with a comma in between. With a template the network's configuration is made of it
   * unless an operator has put one there; without, the network is left to others. INVALID_ARGUMENT for what is no range.
   */
  async configure(podCidr: string): Promise<void> {
    const podCidrs = parsePodCidrs(podCidr);
    const { configTemplate, configDir } = this.#options;
    if (configTemplate === undefined) {
      this.#logger.info("no template for a network configuration is set, so it is left to others", {
        podCidr,
      });
      return;
    }
    const result = await this.#locks.run("configure", () =>
      generateNetwork(configDir, configTemplate, podCidrs),
    );
    this.#logger.info("told the pods' address ranges", { podCidr, network: result });
  }

  /** Attaches a pod; what was done is undone when a plugin fails. A repeat for the same sandbox answers with what it has. */
  async add(
    request: PodNetworkRequest,
    options: CallOptions & {
      /** Called with the path of each plugin before it runs. */
      readonly progress?: ((plugin: string) => void) | undefined;
    } = {},
  ): Promise<{ readonly ips: readonly string[] }> {
    return await this.#locks.run(request.sandboxId, async () => {
      const cached = this.#readCache(request.sandboxId);
      if (cached?.result !== undefined) return { ips: addressesOf(cached.result) };
      const network = loadNetwork(this.#options.configDir);
      const runtimeConfig = runtimeConfigOf(request);
      // Noted before the first plugin runs: a kill in between must not leave an address that nobody knows of.
      await this.#writeCache(request.sandboxId, { network, runtimeConfig, result: undefined });
      let result: unknown;
      try {
        for (const plugin of network.plugins) {
          options.progress?.(findPlugin(plugin.type, this.#options.pluginDirs));
          result = await this.#run(
            "ADD",
            network,
            plugin,
            runtimeConfig,
            result,
            attachmentOf(request),
            options.signal,
          );
        }
        const ips = addressesOf(result);
        await this.#writeCache(request.sandboxId, { network, runtimeConfig, result });
        return { ips };
      } catch (error) {
        await this.#undo(request, { network, runtimeConfig, result }).catch(undoError =>
          this.#logger.error("cannot undo a pod's network", { sandbox: request.sandboxId, error: undoError }),
        );
        throw wrapError(`network ${network.name} for pod ${request.podNamespace}/${request.podName}`, error);
      }
    });
  }

  /** Detaches a pod; what is gone already, namespace or configuration included, is no error. */
  async remove(request: PodNetworkRequest): Promise<void> {
    await this.#locks.run(request.sandboxId, async () => {
      const cached = this.#readCacheOrGuess(request);
      if (cached) await this.#undo(request, cached);
    });
  }

  /**
   * Gives back what the plugins keep for a sandbox of which nothing is known any more: addresses, port rules. By what was
   * noted of it, else by the present configuration. The id is believed: it must be no other runtime's.
   */
  async release(sandboxId: string): Promise<void> {
    const request = {
      ...{ sandboxId, netnsPath: "", podName: "", podNamespace: "", podUid: "" },
      portMappings: [],
    };
    await this.#locks.run(sandboxId, async () => {
      const present = () => ({
        network: loadNetwork(this.#options.configDir),
        // portmap removes all that has the pod's id, but only looks when it is told of a port, whichever.
        runtimeConfig: { portMappings: [{ hostPort: 1, containerPort: 1, protocol: "tcp", hostIP: "" }] },
        result: undefined,
      });
      await this.#undo(request, this.#readCacheOrGuess(request) ?? present());
    });
  }

  /** What cannot be read must not keep a pod for ever: it is detached by what the configuration says now. */
  #readCacheOrGuess(request: PodNetworkRequest): CachedAttachment | undefined {
    try {
      return this.#readCache(request.sandboxId);
    } catch (error) {
      this.#logger.error("what a pod's network was made with is lost; it is detached from the present one", {
        sandbox: request.sandboxId,
        error,
      });
    }
    const runtimeConfig = runtimeConfigOf(request);
    return { network: loadNetwork(this.#options.configDir), runtimeConfig, result: undefined };
  }

  async #undo(request: PodNetworkRequest, cached: CachedAttachment): Promise<void> {
    const attachment = {
      ...attachmentOf(request),
      netns: existsSync(request.netnsPath) ? request.netnsPath : "",
    };
    let failure: unknown;
    for (const plugin of [...cached.network.plugins].reverse()) {
      try {
        await this.#run(
          "DEL",
          cached.network,
          plugin,
          cached.runtimeConfig,
          cached.result,
          attachment,
          undefined,
        );
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== undefined)
      throw wrapError(
        `detach pod ${request.podNamespace}/${request.podName} from network ${cached.network.name}`,
        failure,
      );
    rmSync(this.#cachePath(request.sandboxId), { force: true });
  }

  async #run(
    command: "ADD" | "DEL",
    network: NetworkList,
    plugin: PluginConfig,
    runtimeConfig: Readonly<Record<string, unknown>>,
    previous: unknown,
    attachment: Attachment,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    const wanted = Object.entries(plugin.capabilities ?? {}).filter(
      ([capability, enabled]) => enabled && runtimeConfig[capability] !== undefined,
    );
    const { capabilities: _, ...own } = plugin;
    const config = {
      ...own,
      name: network.name,
      cniVersion: network.cniVersion,
      ...(wanted.length > 0
        ? {
            runtimeConfig: Object.fromEntries(
              wanted.map(([capability]) => [capability, runtimeConfig[capability]]),
            ),
          }
        : {}),
      ...(previous === undefined ? {} : { prevResult: previous }),
    };
    const result = await runPlugin(
      findPlugin(plugin.type, this.#options.pluginDirs),
      command,
      config,
      attachment,
      this.#options.pluginDirs,
      signal,
    );
    return command === "ADD" ? (result ?? previous) : undefined;
  }

  #cachePath(sandboxId: string): string {
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(sandboxId))
      throw new OcidError("INVALID_ARGUMENT", `not a sandbox id: ${JSON.stringify(sandboxId)}`);
    return join(this.#options.cacheDir, `${sandboxId}.json`);
  }

  #readCache(sandboxId: string): CachedAttachment | undefined {
    const path = this.#cachePath(sandboxId);
    if (!existsSync(path)) return undefined;
    try {
      const value = JSON.parse(readFileSync(path, "utf8"));
      return {
        network: parseNetwork(value.network, path),
        runtimeConfig: value.runtimeConfig ?? {},
        result: value.result,
      };
    } catch (error) {
      throw wrapError(`read ${path}`, error, "DATA_LOSS");
    }
  }

  async #writeCache(sandboxId: string, cached: CachedAttachment): Promise<void> {
    await writeAtomic(this.#cachePath(sandboxId), JSON.stringify(cached));
  }
}

function attachmentOf(request: PodNetworkRequest): Attachment {
  const args = [
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAMESPACE", request.podNamespace],
    ["K8S_POD_NAME", request.podName],
    ["K8S_POD_INFRA_CONTAINER_ID", request.sandboxId],
    ["K8S_POD_UID", request.podUid],
  ] as const;
  // A separator within a value would smuggle in other arguments.
  for (const [key, value] of args)
    if (/[;=\0]/.test(value))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `${key} contains a character that CNI arguments cannot carry: ${JSON.stringify(value)}`,
      );
  return { containerId: request.sandboxId, netns: request.netnsPath, interfaceName, args };
}

function runtimeConfigOf(request: PodNetworkRequest): Readonly<Record<string, unknown>> {
  const mappings = request.portMappings.filter(mapping => mapping.hostPort > 0);
  return {
    ...(mappings.length > 0
      ? { portMappings: mappings.map(mapping => ({ ...mapping, hostIP: mapping.hostIP ?? "" })) }
      : {}),
    ...(request.dns ? { dns: request.dns } : {}),
    ...(request.cgroupPath === undefined ? {} : { cgroupPath: request.cgroupPath }),
  };
}

/** @internal The pod's addresses, without their prefix lengths, in the order in which the plugin gave them. */
export function addressesOf(result: unknown): readonly string[] {
  const ips = typeof result === "object" && result !== null ? (result as { ips?: unknown }).ips : undefined;
  const addresses = (Array.isArray(ips) ? ips : []).flatMap(entry => {
    const address = typeof entry?.address === "string" ? entry.address.split("/")[0] : undefined;
    return address !== undefined && isIP(address) ? [address] : [];
  });
  if (addresses.length === 0)
    throw new OcidError("INTERNAL", "the network's plugins gave the pod no address");
  return addresses;
}
