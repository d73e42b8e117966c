import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { OcidError } from "@ocid/base";
import type { StreamingBackend } from "./streaming-backend.ts";

/** Joins a client's stream with a connection into the pod until both directions have ended; each may end by itself. */
export async function forwardConnection(
  backend: StreamingBackend,
  sandboxId: string,
  port: number,
  client: Duplex,
): Promise<void> {
  const gone = new AbortController();
  const abort = () => gone.abort(new OcidError("CANCELLED", "the client has gone"));
  client.once("close", abort);
  try {
    const pod = await backend.portForward({ sandboxId, port }, gone.signal);
    pod.on("error", () => {});
    if (client.destroyed) {
      pod.destroy();
      return;
    }
    try {
      await Promise.all([pipeline(client, pod, { end: true }), pipeline(pod, client, { end: true })]);
    } catch {
      // Either side has gone in the middle, which is how connections end.
      client.destroy();
    } finally {
      pod.destroy();
    }
  } finally {
    client.off("close", abort);
  }
}

/** For the client's error stream. */
export function forwardFailure(port: number, sandboxId: string, message: string): string {
  return `error forwarding port ${port} to pod ${sandboxId}: ${message}`;
}

export function isPort(port: number): boolean {
  return Number.isInteger(port) && port > 0 && port < 65_536;
}
