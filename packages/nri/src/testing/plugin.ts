import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ContainerUpdate } from "../gen/nri_pb.js";
import { Event, Plugin, Runtime, type UpdateContainersRequestSchema } from "../gen/nri_pb.js";
import { eventMethods, everyEvent } from "../plugin-events.ts";
import { connections, type Handlers, Peer } from "../wire/peer.ts";

/** What a plugin answers, by method in camelCase. Events without a handler are not subscribed to. */
export type PluginHandlers = Handlers<typeof Plugin>;

export interface TestPlugin extends AsyncDisposable {
  /** Fulfilled when the connection has ended. */
  readonly closed: Promise<void>;
  /** Asks the runtime for updates that it has not asked about; returns those that failed. */
  update(
    request: MessageInitShape<typeof UpdateContainersRequestSchema>,
  ): Promise<readonly ContainerUpdate[]>;
}

/**
 * A plugin that connects to a runtime's socket (or, started by a runtime, uses the one that it was given as descriptor
 * 3), speaking the protocol as real ones do. Fulfilled when the runtime has
 * synchronized it. `configure` and `synchronize` have handlers of their own unless they are given.
 */
export async function connectPlugin(
  socket: string | Duplex,
  identity: { readonly index: string; readonly name: string },
  handlers: PluginHandlers = {},
): Promise<TestPlugin> {
  const closed = Promise.withResolvers<void>();
  const synchronized = Promise.withResolvers<void>();
  const trunk = typeof socket === "string" ? await connected(socket) : socket;
  const peer = new Peer({
    trunk,
    callsOn: connections.runtime,
    servesOn: connections.plugin,
    serves: Plugin,
    handlers: {
      configure: async () => ({ events: eventsOf(handlers) }),
      shutdown: async () => ({}),
      ...handlers,
      synchronize: async request => {
        const answer = (await handlers.synchronize?.(request)) ?? { more: request.more };
        if (!request.more) setImmediate(() => synchronized.resolve());
        return answer;
      },
    },
    onClose: error => {
      synchronized.reject(error ?? new Error("the runtime closed the connection"));
      closed.resolve();
    },
  });
  synchronized.promise.catch(() => {});
  await peer.call(
    Runtime.method.registerPlugin,
    { pluginName: identity.name, pluginIdx: identity.index, NRIVersion: "v0.12.1" },
    5_000,
  );
  await synchronized.promise;
  return {
    closed: closed.promise,
    async update(request) {
      return (await peer.call(Runtime.method.updateContainers, request, 5_000)).failed;
    },
    async [Symbol.asyncDispose]() {
      peer.close();
      await closed.promise;
    },
  };
}

async function connected(path: string): Promise<Socket> {
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  return socket;
}

function eventsOf(handlers: PluginHandlers): number {
  if (handlers.stateChange) return everyEvent;
  const events = Object.entries(eventMethods).flatMap(([method, { event }]) =>
    handlers[method as keyof PluginHandlers] ? [event] : [],
  );
  // Zero would be all.
  const wanted = events.length > 0 ? events : [Event.REMOVE_POD_SANDBOX];
  return wanted.reduce((mask, event) => mask | (1 << (event - 1)), 0);
}
