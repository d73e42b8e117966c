import type { IncomingHttpHeaders } from "node:http";
import type { StreamingRequest } from "./streaming-backend.ts";

/** SPDY inside of a WebSocket, as port-forward clients ask for it (KEP-4006). */
export const tunnelProtocol = "SPDY/3.1+portforward.k8s.io";

const spdySession = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const spdyForward = ["portforward.k8s.io"];
const webSocketSession = [
  "v5.channel.k8s.io",
  "v4.channel.k8s.io",
  "v4.base64.channel.k8s.io",
  "channel.k8s.io",
  "base64.channel.k8s.io",
];
const webSocketForward = ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"];

export function spdyProtocols(kind: StreamingRequest["kind"]): readonly string[] {
  return kind === "portforward" ? spdyForward : spdySession;
}

export function webSocketProtocols(kind: StreamingRequest["kind"]): readonly string[] {
  return kind === "portforward" ? webSocketForward : webSocketSession;
}

/** The protocols that a header names, in the client's order of preference. */
export function offeredProtocols(header: IncomingHttpHeaders[string]): readonly string[] {
  return [header ?? []]
    .flat()
    .flatMap(value => value.split(","))
    .map(name => name.trim())
    .filter(Boolean);
}
