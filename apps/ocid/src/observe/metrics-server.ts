import { createServer } from "node:http";
import { listenAt } from "./listen-address.ts";
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
  return await listenAt(server, listen, "metrics");
}
