import { createServer as createHttpServer, type IncomingMessage, type Server, STATUS_CODES } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, isIPv6, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type Logger, OcidError, silentLogger } from "@ocid/base";
import { createWebSocketStream, type WebSocket, WebSocketServer } from "ws";
import { OneTimeTokens } from "./one-time-tokens.ts";
import { serveSpdyPortForward } from "./spdy-port-forward.ts";
import { serveSpdySession } from "./spdy-session.ts";
import type { StreamTimes } from "./stream-times.ts";
import type { StreamingBackend, StreamingRequest } from "./streaming-backend.ts";
import { offeredProtocols, spdyProtocols, tunnelProtocol, webSocketProtocols } from "./upgrade-protocols.ts";
import { serveWebSocketPortForward } from "./websocket-port-forward.ts";
import { serveWebSocketSession } from "./websocket-session.ts";

export interface StreamingServerOptions {
  /** Address to listen on. Default 127.0.0.1. */
  readonly address?: string;
  /** Default 0: any free port. */
  readonly port?: number;
  /** Serves TLS 1.2 or newer with this certificate chain and key, in PEM. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** A connection on which nothing moves for so long is closed. Default four hours, as the kubelet's. */
  readonly idleTimeoutMs?: number;
  /** How long a client may take to open its streams. Default 30 s. */
  readonly creationTimeoutMs?: number;
  /**
   * How often a client is written to whose connection is not read, because a container does not take its input: nothing
   * else shows that it has gone. Default 5 s; two of them pass until it is seen.
   */
  readonly probeMs?: number;
  readonly logger?: Logger;
}

export interface StreamingServer extends AsyncDisposable {
  /** A URL that serves this request once, within a minute. INVALID_ARGUMENT for what no session can be. */
  issue(request: StreamingRequest): string;
}

const maxMessageBytes = 16 * 1024 * 1024;
const pingMs = 30_000;

/** Listens for clients of exec, attach and port-forward. Disposing of it cuts every session off. */
export async function listenForStreams(
  backend: StreamingBackend,
  options: StreamingServerOptions = {},
): Promise<StreamingServer> {
  const tokens = new OneTimeTokens<StreamingRequest>();
  const logger = options.logger ?? silentLogger;
  const sockets = new Set<Duplex>();
  const server: Server = options.tls
    ? createHttpsServer({ ...options.tls, minVersion: "TLSv1.2" })
    : createHttpServer();
  server.on("request", (_, response) => {
    response
      .writeHead(400, { "content-type": "text/plain" })
      .end("an upgrade to SPDY or WebSocket is required\n");
  });
  const times = { creationTimeoutMs: options.creationTimeoutMs ?? 30_000, probeMs: options.probeMs ?? 5_000 };
  const upgrades = createUpgrades(backend, times, logger);
  server.on("upgrade", (message: IncomingMessage, socket: Socket, head: Buffer) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    socket.setNoDelay(true);
    socket.setTimeout(options.idleTimeoutMs ?? 4 * 3600 * 1000, () => socket.destroy());
    const [, kind, token] = (message.url ?? "").split(/[/?]/);
    const request = tokens.redeem(token ?? "");
    if (request?.kind !== kind || !request)
      return refuse(socket, 404, "the URL is unknown, too old, or has been used\n");
    upgrades(message, socket, head, request);
  });
  const address = options.address ?? "127.0.0.1";
  await new Promise<void>((resolve, reject) => {
    server.once("error", error =>
      reject(
        new OcidError(
          "FAILED_PRECONDITION",
          `streaming server: cannot listen on ${address} port ${options.port ?? 0}: ${error.message}`,
          { cause: error },
        ),
      ),
    );
    server.listen(options.port ?? 0, address, resolve);
  });
  const { port } = server.address() as AddressInfo;
  const base = `${options.tls ? "https" : "http"}://${reachable(address)}:${port}`;
  return {
    issue(request) {
      checkRequest(request);
      return `${base}/${request.kind}/${tokens.issue(request)}`;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise(resolve => server.close(resolve));
      server.closeAllConnections();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Whoever fetches the URL is on this node. */
function reachable(address: string): string {
  if (address === "0.0.0.0") return "127.0.0.1";
  if (address === "::") return "[::1]";
  return isIPv6(address) ? `[${address}]` : address;
}

function checkRequest(request: StreamingRequest): void {
  if (request.kind === "portforward") return;
  if (request.tty && request.stderr)
    throw new OcidError(
      "INVALID_ARGUMENT",
      "a terminal has no stderr of its own: tty and stderr exclude each other",
    );
  if (!request.stdin && !request.stdout && !request.stderr)
    throw new OcidError("INVALID_ARGUMENT", "at least one of stdin, stdout and stderr must be asked for");
}

function createUpgrades(backend: StreamingBackend, times: StreamTimes, logger: Logger) {
  const tunnels = new WeakSet<IncomingMessage>();
  const failed = (error: unknown) => logger.warn("a streaming session failed", { error });
  const webSockets = (kind: StreamingRequest["kind"]): WebSocketServer => {
    const protocols = webSocketProtocols(kind);
    const server = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      maxPayload: maxMessageBytes,
      handleProtocols: offered => protocols.find(name => offered.has(name)) ?? false,
    });
    // The tunnel's name is no token of RFC 7230, so the library would refuse it: it is negotiated beside it.
    server.on("headers", (headers, message) => {
      if (tunnels.has(message)) headers.push(`Sec-WebSocket-Protocol: ${tunnelProtocol}`);
    });
    return server;
  };
  const servers = {
    exec: webSockets("exec"),
    attach: webSockets("attach"),
    portforward: webSockets("portforward"),
  };

  const upgradeWebSocket = (
    message: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    request: StreamingRequest,
  ) => {
    const offered = offeredProtocols(message.headers["sec-websocket-protocol"]);
    const tunnel = request.kind === "portforward" && offered.includes(tunnelProtocol);
    const known = webSocketProtocols(request.kind);
    if (!tunnel && offered.length > 0 && !offered.some(name => known.includes(name)))
      return refuse(socket, 403, `no protocol in common: offered ${offered}, served ${known}\n`);
    if (tunnel) {
      delete message.headers["sec-websocket-protocol"];
      tunnels.add(message);
    }
    servers[request.kind].handleUpgrade(message, socket, head, client => {
      keepAlive(client, times.probeMs);
      if (request.kind !== "portforward") serveWebSocketSession(backend, request, client).catch(failed);
      else if (!tunnel) serveWebSocketPortForward(backend, request, client).catch(failed);
      else {
        const stream = createWebSocketStream(client, { allowHalfOpen: false });
        serveSpdyPortForward(backend, request, stream, Buffer.alloc(0), times);
      }
    });
  };

  const upgradeSpdy = (message: IncomingMessage, socket: Duplex, head: Buffer, request: StreamingRequest) => {
    const offered = offeredProtocols(message.headers["x-stream-protocol-version"]);
    const known = spdyProtocols(request.kind);
    const protocol = offered.find(name => known.includes(name));
    if (protocol === undefined && offered.length > 0)
      return refuse(socket, 403, `no protocol in common: offered ${offered}, served ${known}\n`, known);
    const chosen = protocol === undefined ? "" : `X-Stream-Protocol-Version: ${protocol}\r\n`;
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n${chosen}\r\n`,
    );
    if (request.kind === "portforward") serveSpdyPortForward(backend, request, socket, head, times);
    else serveSpdySession(backend, request, protocol ?? "channel.k8s.io", socket, head, times).catch(failed);
  };

  return (message: IncomingMessage, socket: Duplex, head: Buffer, request: StreamingRequest): void => {
    const wanted = (message.headers.upgrade ?? "").toLowerCase();
    if (wanted === "websocket") upgradeWebSocket(message, socket, head, request);
    else if (wanted === "spdy/3.1") upgradeSpdy(message, socket, head, request);
    else refuse(socket, 400, "only upgrades to SPDY/3.1 and websocket are served\n");
  };
}

/** Finds out that a client has vanished without a word. */
function keepAlive(client: WebSocket, probeMs: number): void {
  let answered = true;
  client.on("error", () => client.terminate());
  client.on("pong", () => {
    answered = true;
  });
  const timer = setInterval(() => {
    // One that is not read, because a container is slow, cannot be heard either.
    if (!answered && !client.isPaused) client.terminate();
    answered = false;
    client.ping();
  }, pingMs).unref();
  // The end of a connection that is not read is only seen by writing to it; nobody answers a pong (RFC 6455, 5.5.3).
  const probe = setInterval(() => {
    if (client.isPaused && client.readyState === client.OPEN) client.pong();
  }, probeMs).unref();
  client.on("close", () => {
    clearInterval(timer);
    clearInterval(probe);
  });
}

function refuse(socket: Duplex, code: number, text: string, accepted: readonly string[] = []): void {
  const headers = [
    `HTTP/1.1 ${code} ${STATUS_CODES[code]}`,
    "Connection: close",
    ...accepted.map(name => `X-Accepted-Stream-Protocol-Versions: ${name}`),
    "Content-Type: text/plain",
    `Content-Length: ${Buffer.byteLength(text)}`,
  ];
  socket.end(`${headers.join("\r\n")}\r\n\r\n${text}`);
}
