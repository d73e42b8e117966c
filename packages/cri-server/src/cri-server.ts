import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";
import {
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { KeyedLock, type Logger, OcidError, silentLogger } from "@ocid/base";
import { ImageService, RuntimeService, serviceDefinition } from "@ocid/cri-api";
import { listenForStreams, type StreamingServerOptions } from "@ocid/streaming";
import { CdiRegistry } from "./cdi/cdi-registry.ts";
import { ContainerEvents, tellEnd } from "./container-events.ts";
import { Creations } from "./creations.ts";
import { imageHandlers } from "./image-service.ts";
import { instrument } from "./instrument.ts";
import { HookRegistry } from "./oci-hooks/hook-registry.ts";
import { type Overview, overview } from "./overview.ts";
import { PluginBridge } from "./plugins/plugin-bridge.ts";
import { startPlugins } from "./plugins/wishes.ts";
import type { Ports } from "./ports.ts";
import { Records } from "./records.ts";
import { recover } from "./recover.ts";
import { runtimeHandlers } from "./runtime-service.ts";
import type { ServerContext } from "./server-context.ts";
import { Statistics } from "./stats/statistics.ts";
import { createStreamingBackend } from "./streaming-backend.ts";
import type { Workload } from "./workloads.ts";

export interface CriServerOptions {
  readonly ports: Ports;
  /** Where records of pods and containers are kept; must survive the program. */
  readonly stateDir: string;
  /** Told to clients as the runtime's version. */
  readonly version: string;
  readonly logger?: Logger;
  /** Where exec, attach and port-forward are served. Default: a free port of 127.0.0.1. */
  readonly streaming?: Omit<StreamingServerOptions, "logger">;
  /** Directories of CDI specifications, of which the later win. Default /etc/cdi and /var/run/cdi. */
  readonly cdiSpecDirs?: readonly string[];
  /** Directories of hooks (oci-hooks(5)), of which the later win; asked at each container. Default: none. */
  readonly hookDirs?: () => readonly string[];
  /** Kinds of pods that are pinned to processors, of which the first that fits counts; asked at each container. Default: none. */
  readonly workloads?: () => readonly Workload[];
  /**
   * How old what a list of statistics says of each container may be, where it is of many; statistics are sampled so often
   * while somebody asks for them. 0: each list looks at all. Default 10,000 (the kubelet's own period).
   */
  readonly statsPeriodMs?: number;
  /** Called when a container has ended. */
  readonly onContainerEnd?: ((end: { readonly id: string; readonly oomKilled: boolean }) => void) | undefined;
  /** The program's own configuration, shown to whoever asks for the status with everything; no secrets in it. */
  readonly configuration?: object;
  /** Further services on the same socket. */
  readonly services?: readonly {
    readonly definition: ServiceDefinition;
    readonly implementation: UntypedServiceImplementation;
  }[];
}

/** How many there are in each state, by the state's name. */
export interface ServerCounts {
  readonly containers: Readonly<Record<string, number>>;
  readonly sandboxes: Readonly<Record<string, number>>;
}

export interface CriServer {
  /** Finds again what earlier programs left; call it once, before `listen`. */
  recover(): Promise<void>;
  /**
   * Serves on a unix socket, which only its owner can open, and the group with the number `gid` where one is given.
   * ALREADY_EXISTS when another daemon listens there.
   */
  listen(socketPath: string, options?: { readonly gid?: number | undefined }): Promise<void>;
  /** How many containers and pods there are, by state. */
  counts(): ServerCounts;
  /** What there is on the node, for a program that shows it. */
  readonly overview: Overview;
  /** Stops serving; containers go on. Calls under way have `graceMs` to end. */
  close(graceMs?: number): Promise<void>;
}

const messageBytes = 32 * 1024 * 1024;

/** The CRI's services over what the ports give; the streaming server listens from here on. */
export async function createCriServer(options: CriServerOptions): Promise<CriServer> {
  const logger = options.logger ?? silentLogger;
  const context: ServerContext = {
    ports: options.ports,
    records: new Records(options.stateDir),
    logger,
    version: options.version,
    locks: new KeyedLock(),
    creations: new Creations(),
    bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
    onContainerEnd: options.onContainerEnd ?? (() => {}),
    cdi: new CdiRegistry(options.cdiSpecDirs ?? ["/etc/cdi", "/var/run/cdi"]),
    hooks: new HookRegistry(options.hookDirs ?? (() => [])),
    workloads: options.workloads ?? (() => []),
    configuration: options.configuration ?? {},
    plugins: new PluginBridge(options.ports.plugins),
  };
  const events = new ContainerEvents();
  const statistics = new Statistics(context, options.statsPeriodMs ?? 10_000);
  const streaming = await listenForStreams(createStreamingBackend(context), {
    ...options.streaming,
    logger: logger.child({ part: "streaming" }),
  });
  const server = new Server({
    "grpc.max_receive_message_length": messageBytes,
    "grpc.max_send_message_length": 2 * messageBytes,
  });
  server.addService(
    serviceDefinition(RuntimeService),
    instrument(
      RuntimeService,
      runtimeHandlers(context, events, streaming, statistics) as unknown as Record<string, unknown>,
      logger,
    ),
  );
  server.addService(
    serviceDefinition(ImageService),
    instrument(ImageService, imageHandlers(context) as unknown as Record<string, unknown>, logger),
  );
  for (const { definition, implementation } of options.services ?? [])
    server.addService(definition, implementation);
  const ending = new AbortController();
  let path: string | undefined;
  return {
    async recover() {
      await recover(context);
      for (const problem of await context.hooks.problems())
        logger.error("no container is made while a hook's file cannot be used", { problem });
      await startPlugins(context);
      void followExits(context, events, ending.signal);
    },
    counts: () => ({
      containers: countBy([...context.records.containers.values()], ({ state }) => state.status),
      sandboxes: countBy([...context.records.sandboxes.values()], ({ phase }) => phase),
    }),
    overview: overview(context, events),
    async listen(socketPath, { gid } = {}) {
      mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
      await removeStaleSocket(socketPath);
      const mask = process.umask(0o177);
      try {
        await new Promise<void>((resolve, reject) => {
          server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), error =>
            error
              ? reject(
                  new OcidError("FAILED_PRECONDITION", `cannot listen on ${socketPath}: ${error.message}`, {
                    cause: error,
                  }),
                )
              : resolve(),
          );
        });
      } finally {
        process.umask(mask);
      }
      if (gid !== undefined) chownSync(socketPath, process.getuid?.() ?? 0, gid);
      chmodSync(socketPath, gid === undefined ? 0o600 : 0o660);
      path = socketPath;
    },
    async close(graceMs = 5_000) {
      ending.abort();
      statistics[Symbol.dispose]();
      await streaming[Symbol.asyncDispose]();
      await new Promise<void>(resolve => {
        const force = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, graceMs);
        server.tryShutdown(() => {
          clearTimeout(force);
          resolve();
        });
      });
      if (path !== undefined) rmSync(path, { force: true });
    },
  };
}

/** Keeps what is remembered of containers true, and tells listeners. */
async function followExits(
  context: ServerContext,
  events: ContainerEvents,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const { id } of context.ports.runtime.exits({ signal })) {
      void context.locks
        .run(`events ${id}`, async () => {
          const container = context.records.containers.get(id);
          if (container) await tellEnd(context, events, container);
        })
        .catch(error => context.logger.error("cannot tell of a container's end", { container: id, error }));
    }
  } catch (error) {
    context.logger.error("exits of containers are not seen any more", { error });
  }
}

function countBy<T>(items: readonly T[], state: (item: T) => string): Readonly<Record<string, number>> {
  const groups = Map.groupBy(items, state);
  return Object.fromEntries([...groups].map(([name, group]) => [name, group.length]));
}

/** A socket that a killed daemon left is in the way; one that answers belongs to another daemon. */
async function removeStaleSocket(path: string): Promise<void> {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return;
  if (!stat.isSocket())
    throw new OcidError("FAILED_PRECONDITION", `${path} exists and is no socket; choose another --listen`);
  const answered = await new Promise<boolean>(resolve => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
  if (answered)
    throw new OcidError(
      "ALREADY_EXISTS",
      `another daemon listens on ${path}; stop it, or choose another --listen`,
    );
  rmSync(path, { force: true });
}
