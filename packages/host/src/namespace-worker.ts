import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { answerCalls } from "./calling-thread.ts";
import { errnoOf, systemErrorOf } from "./errno.ts";
import { bindMount } from "./mount.ts";
import { type NamespaceCall, type NamespaceReply, parseNetworkUsage } from "./namespace-calls.ts";
import { call } from "./sys.ts";

// This thread alone enters namespaces; whatever happens it goes back to the machine's own before it answers.
const cloneFlags = { net: 0x40000000, ipc: 0x08000000, uts: 0x04000000 } as const;
type Kind = keyof typeof cloneFlags;
const allKinds = Object.keys(cloneFlags) as Kind[];
const home = Object.fromEntries(
  allKinds.map(kind => [kind, openSync(`/proc/thread-self/ns/${kind}`, "r")]),
) as Record<Kind, number>;

answerCalls(answer);

function answer(message: NamespaceCall): NamespaceReply {
  switch (message.kind) {
    case "create":
      return away(allKinds, () => create(message));
    case "setUp":
      return away(allKinds, () => {
        for (const kind of message.namespaces)
          if (kind !== "user") enter(join(message.directory, kind), kind);
        prepare(message);
        return {};
      });
    case "socket":
      return away(["net"], () => {
        enter(message.netnsPath, "net");
        return { fd: openSocket(message.family) };
      });
    case "networkUsage":
      return away(["net"], () => {
        enter(message.netnsPath, "net");
        return { interfaces: parseNetworkUsage(readFileSync("/proc/thread-self/net/dev", "utf8")) };
      });
  }
}

function away<T>(kinds: readonly Kind[], work: () => T): T {
  try {
    return work();
  } finally {
    comeHome(kinds);
  }
}

function comeHome(kinds: readonly Kind[]): void {
  try {
    for (const kind of kinds) call("setns", `own ${kind} namespace`, home[kind], cloneFlags[kind]);
  } catch (error) {
    // A thread that cannot come home must not answer another call from inside a pod.
    setImmediate(() => process.exit(1));
    throw error;
  }
}

function create(message: Extract<NamespaceCall, { kind: "create" | "setUp" }>): Record<string, never> {
  const kinds = message.namespaces.filter((kind): kind is Kind => kind !== "user");
  call(
    "unshare",
    kinds.join(", "),
    kinds.reduce((flags, kind) => flags | cloneFlags[kind], 0),
  );
  prepare(message);
  for (const kind of kinds) bindMount(`/proc/thread-self/ns/${kind}`, join(message.directory, kind));
  return {};
}

function prepare(message: Extract<NamespaceCall, { kind: "create" | "setUp" }>): void {
  if (message.namespaces.includes("net")) loopbackUp();
  if (message.namespaces.includes("uts") && message.hostname !== undefined) {
    const name = Buffer.from(message.hostname);
    call("sethostname", message.hostname, name, name.byteLength);
  }
  for (const [key, value] of Object.entries(message.sysctls)) writeSysctl(key, value, message.rootUid);
}

/** Of the sysctls of an ipc namespace only its owner writes: being root of the machine does not count. */
function writeSysctl(key: string, value: string, rootUid: number): void {
  const path = sysctlPath(key);
  try {
    writeFileSync(path, value);
    return;
  } catch (error) {
    if (errnoOf(error) !== "EACCES" || rootUid === 0)
      throw systemErrorOf(error, "write", `${JSON.stringify(value)} to sysctl ${key}`);
  }
  call("setresuid", `uid ${rootUid}`, -1, rootUid, -1);
  try {
    writeFileSync(path, value);
  } catch (error) {
    throw systemErrorOf(error, "write", `${JSON.stringify(value)} to sysctl ${key}`);
  } finally {
    call("setresuid", "own uid", -1, 0, -1);
  }
}

/** Dots separate, unless the key is written with slashes, where an interface's name may contain dots (sysctl(8)). */
function sysctlPath(key: string): string {
  return `/proc/sys/${key.includes("/") ? key : key.replaceAll(".", "/")}`;
}

function enter(path: string, kind: Kind): void {
  const fd = openSync(path, "r");
  try {
    call("setns", path, fd, cloneFlags[kind]);
  } finally {
    closeSync(fd);
  }
}

function openSocket(family: number): number {
  return call("socket", undefined, family, 0x80801, 0); // SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK
}

/** Raises IFF_UP and IFF_RUNNING of lo through struct ifreq (netdevice(7), SIOCSIFFLAGS). */
function loopbackUp(): void {
  const socket = call("socket", undefined, 2, 0x80002, 0);
  try {
    const request = Buffer.alloc(40);
    request.write("lo");
    request.writeInt16LE(0x41, 16);
    call("ioctl", "lo", socket, 0x8914, request);
  } finally {
    call("close", undefined, socket);
  }
}
