import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { isOcidError, OcidError } from "@ocid/base";
import { createCallingThread } from "./calling-thread.ts";
import { bindMount, isMountPoint, unmount } from "./mount.ts";
import type { NamespaceCall, NamespaceReply, NetworkInterfaceUsage } from "./namespace-calls.ts";
import { sysctlsFromOutside } from "./namespace-sysctls.ts";
import { unlessAborted } from "./pause.ts";
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
  /**
   * Makes namespaces with loopback up and pins them to files. A failure leaves none; ALREADY_EXISTS when the directory
   * holds pinned ones, which stay. A signal is looked at first and at the end: one millisecond is not worth more.
   */
  create(request: NamespaceRequest, options?: CallOptions): Promise<PodNamespaces>;
  /** Connects to a TCP port of 127.0.0.1, or ::1, inside a network namespace. */
  connect(netnsPath: string, port: number, options?: CallOptions): Promise<Duplex>;
  /** Counters of the interfaces in a network namespace, loopback left out. */
  networkUsage(netnsPath: string, options?: CallOptions): Promise<readonly NetworkInterfaceUsage[]>;
}

/** How a call is given up. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/**
 * One thread that goes into namespaces and comes back, so that the rest of the process never leaves its own: about 1 ms
 * a pod and no helper process (which only a user namespace needs, for an instant).
 */
export function launchNamespaceWorker(): NamespaceWorker {
  const thread = createCallingThread<NamespaceCall, NamespaceReply>("the namespace thread", () =>
    launchWorker("namespace-worker", new URL("./namespace-worker.ts", import.meta.url)),
  );
  const ask = thread.ask;
  return {
    async create(request, { signal } = {}) {
      signal?.throwIfAborted();
      refuseExisting(request.directory);
      try {
        const pins = pinFiles(request);
        if (request.userMappings) await createWithUserNamespace(request, pins);
        else if (pins.length === 0) return {};
        await ask({
          kind: request.userMappings ? "setUp" : "create",
          directory: request.directory,
          namespaces: pins,
          hostname: request.hostname,
          sysctls: request.userMappings
            ? sysctlsFromOutside(request.sysctls, request.userMappings.gids)
            : request.sysctls,
          rootUid: request.userMappings?.uids.find(mapping => mapping.containerID === 0)?.hostID ?? 0,
        });
        signal?.throwIfAborted();
        return Object.fromEntries(pins.map(pin => [pin, join(request.directory, pin)]));
      } catch (error) {
        removeNamespaces(request.directory);
        throw error;
      }
    },
    async connect(netnsPath, port, options = {}) {
      if (!Number.isInteger(port) || port < 1 || port > 65_535)
        throw new OcidError("INVALID_ARGUMENT", `not a TCP port: ${port}`);
      let failure: unknown;
      for (const address of ["127.0.0.1", "::1"] as const) {
        options.signal?.throwIfAborted();
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
          if (failure === undefined && isOcidError(error)) throw error;
          failure ??= error;
        }
      }
      throw new OcidError(
        "UNAVAILABLE",
        `nothing in the pod answers on port ${port}: ${(failure as Error).message}`,
        { cause: failure },
      );
    },
    async networkUsage(netnsPath, { signal } = {}) {
      const reply = await unlessAborted(ask({ kind: "networkUsage", netnsPath }), signal);
      return reply.interfaces ?? [];
    },
    [Symbol.asyncDispose]: () => thread[Symbol.asyncDispose](),
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

function refuseExisting(directory: string): void {
  const pinned = kinds.find(kind => isMountPoint(join(directory, kind)));
  if (pinned)
    throw new OcidError("ALREADY_EXISTS", `${join(directory, pinned)} holds a namespace; remove it first`);
}

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
    const abort = () => {
      socket.destroy();
      settle(() => reject(signal?.reason));
    };
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
