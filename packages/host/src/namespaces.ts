import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { OcidError } from "@ocid/base";
import { bindMount, unmount } from "./mount.ts";
import type { NamespaceCall, NamespaceReply, NetworkInterfaceUsage } from "./namespace-calls.ts";
import { findExecutable } from "./run-process.ts";
import { spawnProcess } from "./spawn-process.ts";
import { launchWorker } from "./worker.ts";

export interface IdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

export interface NamespaceRequest {
  /** Directory in which the pins are made; must exist. */
  readonly directory: string;
  readonly net: boolean;
  readonly ipc: boolean;
  readonly uts: boolean;
  readonly hostname?: string;
  /** Keys with dots (`net.ipv4.ip_forward`); written inside the new namespaces. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** Makes a user namespace that owns the others. */
  readonly userMappings?: { readonly uids: readonly IdMapping[]; readonly gids: readonly IdMapping[] };
}

/** Files that keep the namespaces alive. */
export interface PodNamespaces {
  readonly net?: string;
  readonly ipc?: string;
  readonly uts?: string;
  readonly user?: string;
}

export interface NamespaceWorker extends AsyncDisposable {
  /** Makes namespaces with loopback up and pins them to files. A failure leaves none. */
  create(request: NamespaceRequest): Promise<PodNamespaces>;
  /** Connects to a TCP port of 127.0.0.1, or ::1, inside a network namespace. */
  connect(
    netnsPath: string,
    port: number,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<Duplex>;
  networkUsage(netnsPath: string): Promise<readonly NetworkInterfaceUsage[]>;
}

/**
 * One thread that goes into namespaces and comes back, so that the rest of the process never leaves its own: about 1 ms
 * a pod and no helper process (which only a user namespace needs, for an instant).
 */
export function launchNamespaceWorker(): NamespaceWorker {
  const worker = launchWorker("namespace-worker", new URL("./namespace-worker.ts", import.meta.url));
  const waiting = new Map<number, { resolve(reply: NamespaceReply): void; reject(error: unknown): void }>();
  let lastId = 0;
  worker.unref();
  worker.on("message", (reply: NamespaceReply) => {
    const call = waiting.get(reply.id);
    waiting.delete(reply.id);
    if (waiting.size === 0) worker.unref();
    if (reply.error) call?.reject(reply.error);
    else call?.resolve(reply);
  });
  worker.on("error", error => {
    for (const call of waiting.values()) call.reject(error);
    waiting.clear();
  });
  const ask = (call: NamespaceCall): Promise<NamespaceReply> => {
    const id = ++lastId;
    worker.ref();
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      worker.postMessage({ ...call, id });
    });
  };
  return {
    async create(request) {
      try {
        const pins = pinFiles(request);
        if (request.userMappings) await createWithUserNamespace(request, pins);
        else if (pins.length === 0) return {};
        await ask({
          kind: request.userMappings ? "setUp" : "create",
          directory: request.directory,
          namespaces: pins,
          hostname: request.hostname,
          sysctls: request.sysctls,
        });
        return Object.fromEntries(pins.map(pin => [pin, join(request.directory, pin)]));
      } catch (error) {
        removeNamespaces(request.directory);
        throw error;
      }
    },
    async connect(netnsPath, port, options = {}) {
      let failure: unknown;
      for (const address of ["127.0.0.1", "::1"] as const) {
        try {
          const { fd } = await ask({ kind: "socket", netnsPath, family: address === "::1" ? 10 : 2 });
          return await connected(
            new Socket({ fd: fd!, readable: true, writable: true, allowHalfOpen: true }),
            address,
            port,
            options.signal,
          );
        } catch (error) {
          options.signal?.throwIfAborted();
          failure ??= error;
        }
      }
      throw new OcidError(
        "UNAVAILABLE",
        `nothing in the pod answers on port ${port}: ${(failure as Error).message}`,
        { cause: failure },
      );
    },
    async networkUsage(netnsPath) {
      return (await ask({ kind: "networkUsage", netnsPath })).interfaces ?? [];
    },
    async [Symbol.asyncDispose]() {
      await worker.terminate();
    },
  };
}

/** Unpins what `create` has pinned in a directory and removes the files; what is gone is no error. */
export function removeNamespaces(directory: string): void {
  if (!existsSync(directory)) return;
  for (const name of readdirSync(directory)) {
    if (!kinds.includes(name as Kind)) continue;
    const path = join(directory, name);
    while (unmount(path, { lazy: true }));
    rmSync(path, { force: true });
  }
}

const kinds = ["user", "net", "ipc", "uts"] as const;
type Kind = (typeof kinds)[number];

function pinFiles(request: NamespaceRequest): readonly Kind[] {
  const wanted = kinds.filter(kind => (kind === "user" ? request.userMappings !== undefined : request[kind]));
  for (const kind of wanted) writeFileSync(join(request.directory, kind), "", { flag: "a", mode: 0o600 });
  return wanted;
}

/** A process of many threads cannot enter a user namespace of its own: a helper waits in it while it is mapped and pinned. */
async function createWithUserNamespace(request: NamespaceRequest, pins: readonly Kind[]): Promise<void> {
  const unshare = findExecutable("unshare");
  if (unshare === undefined)
    throw new OcidError(
      "FAILED_PRECONDITION",
      "a pod with a user namespace needs unshare of util-linux, which is not installed",
    );
  const child = spawnProcess({
    path: unshare,
    argv: ["unshare", ...pins.map(pin => `--${pin}`), "sh", "-c", "echo ready; read end"],
    env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin" },
    stdio: ["pipe", "pipe", "pipe"],
  });
  try {
    await firstOutput(child.stdio[1]!, child.stdio[2]!);
    const map = (mappings: readonly IdMapping[]) =>
      mappings.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join("");
    writeFileSync(`/proc/${child.pid}/uid_map`, map(request.userMappings!.uids));
    writeFileSync(`/proc/${child.pid}/gid_map`, map(request.userMappings!.gids));
    for (const pin of pins) bindMount(`/proc/${child.pid}/ns/${pin}`, join(request.directory, pin));
  } finally {
    child.stdio[0]?.end("\n");
    child.kill("SIGKILL");
    await child.exited;
    for (const pipe of child.stdio) pipe?.destroy();
  }
}

function firstOutput(stdout: Socket, stderr: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = "";
    stderr.on("data", chunk => {
      said += chunk;
    });
    stdout.once("data", () => resolve());
    stdout.once("close", () =>
      reject(
        new OcidError("FAILED_PRECONDITION", `user namespace: ${said.trim() || "unshare ended at once"}`),
      ),
    );
  });
}

function connected(
  socket: Socket,
  host: string,
  port: number,
  signal: AbortSignal | undefined,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const abort = () => socket.destroy(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    const settle = (finish: () => void) => {
      signal?.removeEventListener("abort", abort);
      socket.removeAllListeners("error");
      finish();
    };
    socket.once("error", error => settle(() => reject(error)));
    socket.connect({ port, host }, () => settle(() => resolve(socket)));
  });
}
