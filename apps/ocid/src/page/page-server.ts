import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { isOwnHost } from "./hosts.ts";
import type { LiveSections } from "./live-sections.ts";
import { loadStaticFiles, type StaticFile } from "./static-files.ts";

/** Pages that are kept up to date at once; each may have several connections. */
const maxViewers = 8;
const maxConnections = 64;
/** What may wait for a viewer that does not read; then it is left. */
const maxWaitingBytes = 4 * 2 ** 20;

const headers: Readonly<Record<string, string>> = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

/**
 * The page's files, and at `/live` its parts as server-sent events (HTML Standard, "Server-sent events"). Only GET and
 * HEAD, only for requests that name this node, and not for other sites' scripts: nothing here changes anything.
 */
export function createPageServer(sections: LiveSections, nodeName: string): Server {
  const files = loadStaticFiles();
  let viewers = 0;
  const server = createServer({ maxHeaderSize: 16_384 }, (request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    const refusal = refuse(request, nodeName);
    if (refusal) {
      const { status, text, ...more } = refusal;
      response.writeHead(status, {
        "content-type": "text/plain; charset=utf-8",
        connection: "close",
        ...more,
      });
      response.end(`${text}\n`);
      return;
    }
    const path = request.url?.split("?")[0] ?? "";
    const file = files.get(path);
    if (file) sendFile(request, response, file);
    else if (path !== "/live") response.writeHead(404).end();
    else if (viewers >= maxViewers) response.writeHead(503, { "retry-after": "5" }).end();
    else {
      viewers++;
      response.once("close", () => viewers--);
      show(request, response, sections);
    }
  });
  server.requestTimeout = 10_000;
  server.headersTimeout = 10_000;
  server.maxConnections = maxConnections;
  return server;
}

interface Refusal {
  readonly status: number;
  readonly text: string;
  readonly allow?: string;
}

function refuse({ method, headers: asked }: IncomingMessage, nodeName: string): Refusal | undefined {
  if (!isOwnHost(asked.host, nodeName))
    return { status: 421, text: "this page is served by the node's address, its name, or localhost" };
  if (method !== "GET" && method !== "HEAD")
    return { status: 405, text: "this page can only be read", allow: "GET, HEAD" };
  // Browsers say who asks (Fetch Metadata Request Headers). A link of another site may lead here; its scripts may not.
  const site = asked["sec-fetch-site"] ?? "none";
  const isLink = asked["sec-fetch-mode"] === "navigate" && asked["sec-fetch-dest"] === "document";
  if (site !== "same-origin" && site !== "none" && !isLink)
    return { status: 403, text: "this page is not for other sites" };
  return undefined;
}

function sendFile(request: IncomingMessage, response: ServerResponse, file: StaticFile): void {
  const { body, contentType, etag } = file;
  const common = { etag, "cache-control": "no-cache" };
  if (request.headers["if-none-match"] === etag) return void response.writeHead(304, common).end();
  response.writeHead(200, { ...common, "content-type": contentType, "content-length": body.byteLength });
  response.end(request.method === "HEAD" ? undefined : body);
}

function show(request: IncomingMessage, response: ServerResponse, sections: LiveSections): void {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  if (request.method === "HEAD") return void response.end();
  response.write("retry: 1000\n\n");
  const watching = sections.watch((section, json) => {
    if (response.writableLength > maxWaitingBytes) response.destroy();
    else response.write(`event: ${section}\ndata: ${json}\n\n`);
  });
  response.once("close", () => watching[Symbol.dispose]());
}
