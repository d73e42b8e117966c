import type { Duplex } from "node:stream";
import { OcidError } from "@ocid/base";
import { WebSocket } from "ws";
import { WebSocketChannels } from "./websocket-channels.ts";

/**
 * Carries one connection through a port-forward URL that was issued for one port (WebSocket channels). Ends when
 * either side closes; UNAVAILABLE with the server's words when nothing answers in the pod.
 */
export async function joinForward(url: string, local: Duplex): Promise<void> {
  const socket = new WebSocket(url.replace(/^http/, "ws"), ["v4.channel.k8s.io"], {
    perMessageDeflate: false,
  });
  const wire = new WebSocketChannels(socket);
  let complaint = "";
  const named = new Set<number>();
  wire.onMessage((channel, bytes) => {
    // The first message of each channel repeats the port.
    if (!named.has(channel)) named.add(channel);
    else if (channel === 1) complaint += bytes.toString();
    else if (!local.write(bytes)) {
      socket.pause();
      local.once("drain", () => socket.resume());
    }
  });
  local.on("error", () => socket.close());
  local.once("close", () => socket.close());
  await new Promise<void>((resolve, reject) => {
    socket.once("error", error =>
      reject(
        new OcidError("UNAVAILABLE", `the port cannot be forwarded: ${error.message}`, { cause: error }),
      ),
    );
    socket.once("open", () =>
      local.on("data", (bytes: Buffer) => {
        local.pause();
        wire.send(0, bytes, () => local.resume());
      }),
    );
    socket.once("close", () => resolve());
  }).finally(() => local.end());
  if (complaint !== "") throw new OcidError("UNAVAILABLE", complaint);
}
