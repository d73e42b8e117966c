import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { dirname } from "node:path";
import { OcidError } from "@ocid/base";
import type { Metrics } from "./metrics.ts";

/** Serves `GET /metrics` at `ADDRESS:PORT`, or on a unix socket that only root can open when `listen` is a path. */
export async function serveMetrics(listen: string, metrics: Metrics): Promise<AsyncDisposable> {
  const server = createServer((request, response) => {
    if (request.method !== "GET" || request.url !== "/metrics") {
      response.writeHead(request.url === "/metrics" ? 405 : 404).end();
      return;
    }
    metrics.expose().then(
      ({ text, contentType }) => response.writeHead(200, { "content-type": contentType }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  server.requestTimeout = 10_000;
  server.maxConnections = 16;
  await start(server, listen);
  return {
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
      if (listen.startsWith("/")) rmSync(listen, { force: true });
    },
  };
}

async function start(server: Server, listen: string): Promise<void> {
  const target = parseListen(listen);
  if ("path" in target) {
    mkdirSync(dirname(target.path), { recursive: true, mode: 0o755 });
    rmSync(target.path, { force: true });
  }
  await new Promise<void>((resolve, reject) => {
    server.once("error", error =>
      reject(
        new OcidError("FAILED_PRECONDITION", `cannot serve metrics on ${listen}: ${error.message}`, {
          cause: error,
        }),
      ),
    );
    server.listen(target, resolve);
  });
  if ("path" in target) chmodSync(target.path, 0o600);
}

/** `PATH`, or `ADDRESS:PORT` with an IPv6 address in brackets. */
export function parseListen(
  listen: string,
): { readonly path: string } | { readonly host: string; readonly port: number } {
  if (listen.startsWith("/")) return { path: listen };
  const [, host = "", port] = /^(\[[^\]]+\]|[^:]+):(\d{1,5})$/.exec(listen) ?? [];
  if (port === undefined || Number(port) > 65_535)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${JSON.stringify(listen)} should be a path, or ADDRESS:PORT such as 127.0.0.1:9537`,
    );
  return { host: host.replace(/^\[|\]$/g, ""), port: Number(port) };
}
