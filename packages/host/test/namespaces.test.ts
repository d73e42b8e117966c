import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { launchNamespaceWorker, type NamespaceRequest, removeNamespaces } from "@ocid/host";
import { leakCheck, mountpointsBelow, tempRoot } from "@ocid/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

const leaks = leakCheck();
const root = tempRoot("host-");
const worker = launchNamespaceWorker();
const kinds = ["net", "ipc", "uts"] as const;
const own = () => kinds.map(kind => readlinkSync(`/proc/self/ns/${kind}`));
const sysctl = (path: string) => readFileSync(`/proc/sys/${path}`, "utf8").trim();
const mapping = [{ containerID: 0, hostID: 400_000, size: 65_536 }];
const sysctls = {
  "net.ipv4.ip_default_ttl": "77",
  "net.ipv4.ping_group_range": "0 7",
  "kernel.msgmax": "4242",
  "kernel.shm_rmid_forced": "1",
  "fs.mqueue.msg_max": "20",
};
const sysctlPaths = [
  "net/ipv4/ip_default_ttl",
  "net/ipv4/ping_group_range",
  "kernel/msgmax",
  "kernel/shm_rmid_forced",
  "fs/mqueue/msg_max",
];
let directories: string[] = [];

function request(more: Partial<NamespaceRequest> = {}): NamespaceRequest {
  const directory = mkdtempSync(join(root.path, "pod-"));
  directories.push(directory);
  return { directory, net: true, ipc: true, uts: true, sysctls: {}, ...more };
}

const inside = (directory: string, user: boolean, script: string): string =>
  execFileSync(
    "nsenter",
    [
      ...(user ? ["user", ...kinds] : kinds).map(kind => `--${kind}=${join(directory, kind)}`),
      "sh",
      "-c",
      script,
    ],
    { encoding: "utf8" },
  ).trim();

let before: readonly string[];
beforeAll(() => {
  before = [...own(), ...sysctlPaths.map(sysctl), sysctl("kernel/hostname")];
});
afterEach(() => {
  for (const directory of directories) removeNamespaces(directory);
  directories = [];
  expect(mountpointsBelow(root.path)).toEqual([]);
});
afterAll(async () => {
  expect([...own(), ...sysctlPaths.map(sysctl), sysctl("kernel/hostname")]).toEqual(before);
  await worker[Symbol.asyncDispose]();
  root.remove();
  await leaks.expectClean();
});

describe("create", () => {
  test.each([false, true])(
    "pins namespaces with loopback, hostname and sysctls of their own; user: %s",
    async user => {
      const made = request({
        hostname: "a-pod",
        sysctls,
        ...(user ? { userMappings: { uids: mapping, gids: mapping } } : {}),
      });
      const pins = await worker.create(made);
      expect(Object.keys(pins).sort()).toEqual([...kinds, ...(user ? ["user"] : [])].sort());
      const ids = kinds.map(kind => `${kind}:[${statSync(pins[kind]!).ino}]`);
      expect(new Set([...ids, ...own()]).size).toBe(6);
      const said = inside(
        made.directory,
        user,
        `cat ${sysctlPaths.map(path => `/proc/sys/${path}`).join(" ")}; hostname; cat /sys/class/net/lo/flags 2>/dev/null; ip -o link show lo`,
      );
      expect(said.split("\n").slice(0, 6)).toEqual(["77", "0\t7", "4242", "1", "20", "a-pod"]);
      expect(said).toMatch(/<LOOPBACK,UP,LOWER_UP>/);
      if (user)
        expect(inside(made.directory, user, "cat /proc/self/uid_map").split(/\s+/)).toEqual([
          "0",
          "400000",
          "65536",
        ]);
      removeNamespaces(made.directory);
      removeNamespaces(made.directory);
      expect(readdirSync(made.directory)).toEqual([]);
    },
  );

  test("only what is asked for, nothing at all included", async () => {
    expect(Object.keys(await worker.create(request({ net: false, uts: false })))).toEqual(["ipc"]);
    expect(await worker.create(request({ net: false, ipc: false, uts: false }))).toEqual({});
  });

  test("twenty at once are twenty", async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => worker.create(request())));
    expect(new Set(all.map(pins => statSync(pins.net!).ino)).size).toBe(20);
  });

  test.each([false, true])("a failure leaves nothing and is named; user: %s", async user => {
    const made = request({
      sysctls: { "net.ipv4.ip_default_ttl": "9", "net.no_such": "1" },
      ...(user ? { userMappings: { uids: mapping, gids: mapping } } : {}),
    });
    await expect(worker.create(made)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: 'write "1" to sysctl net.no_such: ENOENT',
    });
    expect(readdirSync(made.directory)).toEqual([]);
    expect(mountpointsBelow(made.directory)).toEqual([]);
  });

  test("namespaces that are pinned already stay as they are", async () => {
    const made = request();
    const pins = await worker.create(made);
    const inode = statSync(pins.net!).ino;
    await expect(worker.create(made)).rejects.toMatchObject({ code: "ALREADY_EXISTS" });
    expect(statSync(pins.net!).ino).toBe(inode);
  });

  test("an aborted one leaves nothing", async () => {
    const made = request();
    const controller = new AbortController();
    const reason = new Error("gone");
    const creating = worker.create(made, { signal: controller.signal });
    controller.abort(reason);
    await expect(creating).rejects.toBe(reason);
    expect(readdirSync(made.directory)).toEqual([]);
  });
});

describe("inside a network namespace", () => {
  // Answers one connection with what it was sent, in capitals.
  const server = `
use IO::Socket::IP; $| = 1;
my $server = IO::Socket::IP->new(LocalHost => $ARGV[0], LocalPort => 0, Listen => 1, Proto => "tcp") or die $@;
print $server->sockport, "\\n"; my $client = $server->accept; print $client uc(do { local $/; <$client> });`;

  test.each(["127.0.0.1", "::1"])("connects to a server on %s", async address => {
    const made = request();
    const pins = await worker.create(made);
    const child = spawn("nsenter", [`--net=${pins.net}`, "perl", "-e", server, address], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = once(child, "exit");
    const port = Number(String((await once(child.stdout, "data"))[0]));
    const socket = await worker.connect(pins.net!, port);
    socket.end("hello");
    let text = "";
    for await (const chunk of socket) text += chunk;
    expect(text).toBe("HELLO");
    await ended;
    await expect(worker.connect(pins.net!, port)).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("ECONNREFUSED"),
    });
  });

  test("refuses what is no port or namespace", async () => {
    const pins = await worker.create(request());
    await expect(worker.connect(pins.net!, 0)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(worker.connect("/nonexistent", 80)).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(worker.connect("/etc/passwd", 80)).rejects.toMatchObject({ reason: "EINVAL" });
    const reason = new Error("gone");
    await expect(worker.connect(pins.net!, 80, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test("counts what its interfaces carry, not the machine's", async () => {
    const made = request();
    const pins = await worker.create(made);
    expect(await worker.networkUsage(pins.net!)).toEqual([]);
    inside(
      made.directory,
      false,
      "ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up",
    );
    const usage = await worker.networkUsage(pins.net!);
    expect(usage.map(one => one.name).sort()).toEqual(["v0", "v1"]);
    await expect(worker.networkUsage("/nonexistent")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

test("a worker that was disposed of starts anew when it is asked", async () => {
  await using another = launchNamespaceWorker();
  await another.create(request());
  await another[Symbol.asyncDispose]();
  expect(Object.keys(await another.create(request()))).toHaveLength(3);
});
