import { isIP, connect as netConnect, type Socket } from "node:net";
import type { SecureContext, TLSSocket } from "node:tls";
import { OcidError, Pace } from "@ocid/base";
import { lookupRedirected } from "@ocid/base/redirects";
import type { TlsOptions } from "@ocid/spec";
import { type ResponseHead, ResponseReader } from "./http-response.ts";

export interface GetRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly tls?: TlsOptions | undefined;
  /** URL of a forward proxy. */
  readonly proxy?: string | undefined;
  /** A connection on which nothing arrives for so long is given up. */
  readonly idleMs: number;
  /** So long a time of a drop now and then is too slow. */
  readonly slowMs: number;
  /** The URL is one that a server redirected to: names that stand for link-local addresses are refused. */
  readonly redirected: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** What was said with `false` from `onHead`: the body is not wanted. */
export interface GetHandlers {
  onHead(head: ResponseHead): boolean;
  /** A promise has the socket wait for it; what TLS has decrypted by then comes nevertheless. */
  onBody(bytes: Uint8Array): void | Promise<void>;
}

// One for the thread: what a socket has received is dealt with before the next one is read.
const receiveBuffer = Buffer.allocUnsafeSlow(256 * 1024);

/**
 * A GET over a connection of its own, its body handed to `onBody` in the buffer in which the socket received it: no
 * stream, no copy. Resolves at the response's end; rejects with what a handler throws, or UNAVAILABLE.
 */
export async function httpGet(request: GetRequest, handlers: GetHandlers): Promise<void> {
  const { url, signal } = request;
  signal?.throwIfAborted();
  const viaProxy = request.proxy === undefined ? undefined : new URL(request.proxy);
  const tunnel = viaProxy && url.protocol === "https:" ? await openTunnel(viaProxy, url, request) : undefined;
  await new Promise<void>((resolve, reject) => {
    let socket: Socket | TLSSocket | undefined;
    let wanted = true;
    let busy: Promise<void> | undefined;
    const finish = (error?: unknown) => {
      signal?.removeEventListener("abort", abort);
      socket?.removeAllListeners();
      socket?.on("error", () => {});
      socket?.destroy();
      if (error === undefined) resolve();
      else
        reject(
          error instanceof Error && "syscall" in error
            ? new OcidError("UNAVAILABLE", `${url.host}: ${error.message}`, { cause: error })
            : error,
        );
    };
    const abort = () => finish(signal?.reason);
    const reader = new ResponseReader(
      head => {
        wanted = handlers.onHead(head);
      },
      bytes => {
        if (wanted) busy = handlers.onBody(bytes) ?? busy;
      },
    );
    const pace = new Pace({ windowMs: request.slowMs });
    let waitingSince = performance.now();
    const onread = {
      buffer: receiveBuffer,
      callback: (received: number, buffer: Uint8Array): boolean => {
        try {
          pace.note(received, performance.now() - waitingSince, url.host);
          reader.write(buffer.subarray(0, received));
          waitingSince = performance.now();
          if (reader.done || !wanted) finish();
          else if (busy) return pause(busy);
        } catch (error) {
          finish(error);
        }
        return true;
      },
    };
    const pause = (until: Promise<void>): false => {
      until.then(() => {
        if (busy !== until) return;
        busy = undefined;
        waitingSince = performance.now();
        socket?.resume();
      }, finish);
      return false;
    };
    signal?.addEventListener("abort", abort, { once: true });
    socket = openSocket(request, viaProxy, tunnel, onread);
    socket.setTimeout(request.idleMs, () => {
      // Who is not read from cannot send.
      if (busy) socket?.setTimeout(request.idleMs);
      else
        finish(
          new OcidError("UNAVAILABLE", `${url.host} has sent nothing for ${request.idleMs} ms`, {
            reason: "Idle",
          }),
        );
    });
    socket.once("error", finish);
    socket.once("close", () =>
      finish(
        reader.mayEnd
          ? undefined
          : new OcidError("UNAVAILABLE", `${url.host} closed the connection before the end`, {
              reason: "Closed",
            }),
      ),
    );
    socket.write(requestText(request, viaProxy !== undefined && tunnel === undefined ? viaProxy : undefined));
  });
}

type OnRead = {
  readonly buffer: Buffer;
  readonly callback: (received: number, buffer: Uint8Array) => boolean;
};

function openSocket(
  request: GetRequest,
  proxy: URL | undefined,
  tunnel: Socket | undefined,
  onread: OnRead,
): Socket {
  const { url, tls } = request;
  const host = hostname(url);
  const lookup = request.redirected && proxy === undefined ? { lookup: lookupRedirected } : {};
  if (url.protocol === "http:") {
    const target = proxy ?? url;
    return netConnect({ host: hostname(target), port: portOf(target), ...lookup, onread } as never);
  }
  // Loaded by those threads that need it: it takes longer than all else that a thread loads.
  return process.getBuiltinModule("node:tls").connect({
    ...(tunnel ? { socket: tunnel } : { host, port: portOf(url), ...lookup }),
    ...(isIP(host) ? {} : { servername: host }),
    ALPNProtocols: ["http/1.1"],
    rejectUnauthorized: tls?.verify ?? true,
    secureContext: contextOf(tls),
    onread,
  } as never);
}

const contexts = new WeakMap<TlsOptions, SecureContext>();
const usual: TlsOptions = {};

/** Made once for all connections with the same options: reading the authorities takes longer than a handshake. */
function contextOf(options: TlsOptions = usual): SecureContext {
  let context = contexts.get(options);
  if (!context) {
    const { ca, cert, key, verify = true } = options;
    context = process.getBuiltinModule("node:tls").createSecureContext({
      // Without a list it would be all that Node knows.
      ...(verify ? (ca ? { ca: [...ca] } : {}) : { ca: [] }),
      ...(cert ? { cert } : {}),
      ...(key ? { key } : {}),
    });
    contexts.set(options, context);
  }
  return context;
}

function openTunnel(proxy: URL, url: URL, request: GetRequest): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = netConnect({ host: hostname(proxy), port: portOf(proxy) });
    const fail = (error: unknown) => {
      socket.destroy();
      reject(
        new OcidError("UNAVAILABLE", `proxy ${proxy.host}: ${(error as Error).message}`, { cause: error }),
      );
    };
    socket.setTimeout(request.idleMs, () => fail(new Error("no answer")));
    socket.once("error", fail);
    const target = `${hostname(url)}:${portOf(url)}`;
    socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${proxyAuthorization(proxy)}\r\n`);
    let text = "";
    socket.on("data", function onData(chunk: Buffer) {
      text += chunk.toString("latin1");
      if (!text.includes("\r\n\r\n") && text.length < 16_384) return;
      socket.off("data", onData);
      socket.removeAllListeners("error");
      socket.setTimeout(0);
      if (/^HTTP\/1\.[01] 200/.test(text)) resolve(socket);
      else fail(new Error(text.split("\r\n", 1)[0]));
    });
  });
}

function requestText(request: GetRequest, proxy: URL | undefined): string {
  const { url } = request;
  const path = proxy ? url.href : `${url.pathname}${url.search}`;
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: ${url.host}`,
    "Connection: close",
    "Accept-Encoding: identity",
  ];
  for (const [name, value] of Object.entries(request.headers)) {
    if (/[\r\n\0]/.test(name + value))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `request header ${JSON.stringify(name)} has a line break in it`,
      );
    lines.push(`${name}: ${value}`);
  }
  return `${lines.join("\r\n")}\r\n${proxy ? proxyAuthorization(proxy) : ""}\r\n`;
}

function proxyAuthorization(proxy: URL): string {
  if (proxy.username === "") return "";
  const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return `Proxy-Authorization: Basic ${Buffer.from(pair).toString("base64")}\r\n`;
}

function hostname(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "");
}

function portOf(url: URL): number {
  return url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
}
