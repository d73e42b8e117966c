import { chmodSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { BlockList, isIP } from "node:net";
import { dirname } from "node:path";
import { OcidError } from "@ocid/base";

export type ListenAddress = { readonly path: string } | { readonly host: string; readonly port: number };

/** `PATH`, or `ADDRESS:PORT` with an IPv6 address in brackets; `example` is shown to whoever writes something else. */
export function parseListen(listen: string, example = "127.0.0.1:9537"): ListenAddress {
  if (listen.startsWith("/")) return { path: listen };
  const [, host = "", port] = /^(\[[^\]]+\]|[^:]+):(\d{1,5})$/.exec(listen) ?? [];
  if (port === undefined || Number(port) > 65_535)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${JSON.stringify(listen)} should be a path, or ADDRESS:PORT such as ${example}`,
    );
  return { host: host.replace(/^\[|\]$/g, ""), port: Number(port) };
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Whether only this machine reaches it: a path, localhost, 127.0.0.0/8, ::1. */
export function isLocal(address: ListenAddress): boolean {
  if ("path" in address) return true;
  const family = isIP(address.host);
  if (family === 0) return address.host === "localhost";
  return loopback.check(address.host, family === 6 ? "ipv6" : "ipv4");
}

/** Listens at an address that `parseListen` understands; on a socket, only root can open it. `what` is served there. */
export async function listenAt(server: Server, listen: string, what: string): Promise<AsyncDisposable> {
  const target = parseListen(listen);
  if ("path" in target) {
    mkdirSync(dirname(target.path), { recursive: true, mode: 0o755 });
    const inTheWay = lstatSync(target.path, { throwIfNoEntry: false });
    if (inTheWay && !inTheWay.isSocket())
      throw new OcidError(
        "FAILED_PRECONDITION",
        `${listen} exists and is no socket; serve ${what} elsewhere`,
      );
    rmSync(target.path, { force: true });
  }
  await new Promise<void>((resolve, reject) => {
    server.once("error", error =>
      reject(
        new OcidError("FAILED_PRECONDITION", `cannot serve ${what} on ${listen}: ${error.message}`, {
          cause: error,
        }),
      ),
    );
    server.listen(target, resolve);
  });
  if ("path" in target) chmodSync(target.path, 0o600);
  return {
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
      if ("path" in target) rmSync(target.path, { force: true });
    },
  };
}
