import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connectSeqpacket } from "@ocid/host";
import { tempRoot } from "@ocid/testkit";
import { afterAll, afterEach, expect, test } from "vitest";

const root = tempRoot("host-");
const others: ChildProcess[] = [];
// Tells the size of each packet it gets, slowly, and then sends packets of the sizes it is given.
const program = `
use Socket; $| = 1; my ($directory, $name, $waitMs, @sizes) = @ARGV;
chdir $directory or die $!;
socket(my $server, AF_UNIX, SOCK_SEQPACKET, 0) or die $!;
bind($server, pack_sockaddr_un($name)) or die $!; listen($server, 0) or die $!;
print "ready\\n"; select(undef, undef, undef, $waitMs / 1000);
accept(my $client, $server) or die $!;
while (defined recv($client, my $packet, 1 << 20, 0)) { last if $packet eq ""; print length($packet), "\\n"; select(undef, undef, undef, 0.002) }
send($client, "x" x $_, 0) for @sizes;`;

async function serve(
  path: string,
  options: { readonly waitMs?: number; readonly sizes?: readonly number[] } = {},
) {
  mkdirSync(join(path, ".."), { recursive: true });
  const parameters = [join(path, ".."), "socket", options.waitMs ?? 0, ...(options.sizes ?? [])].map(String);
  const child = spawn("perl", ["-e", program, ...parameters], { stdio: ["ignore", "pipe", "inherit"] });
  others.push(child);
  const closed = once(child, "close");
  let said = "";
  child.stdout.on("data", chunk => {
    said += chunk;
  });
  await once(child.stdout, "data");
  return {
    async received(): Promise<readonly number[]> {
      await closed;
      return said.trim().split("\n").slice(1).map(Number);
    },
  };
}

afterEach(() => {
  for (const child of others.splice(0)) child.kill("SIGKILL");
});
afterAll(() => root.remove());

test("each write is one packet however slow the other side is, and each packet one event", async () => {
  const path = join(root.path, "a", "socket");
  const sizes = [10, 8193, 1, 5000];
  const server = await serve(path, { sizes });
  const socket = await connectSeqpacket(path);
  const written = Array.from({ length: 300 }, (_, index) => 1 + ((index * 97) % 4000));
  for (const size of written) socket.write(Buffer.alloc(size, "y"));
  socket.end();
  const events: number[] = [];
  socket.on("data", (chunk: Buffer) => events.push(chunk.byteLength));
  await once(socket, "close");
  expect(events).toEqual(sizes);
  expect(await server.received()).toEqual(written);
});

test("what is longer than a packet may be is written as several", async () => {
  const path = join(root.path, "b", "socket");
  const server = await serve(path);
  const socket = await connectSeqpacket(path, { maxPacketBytes: 4000 });
  socket.end(Buffer.alloc(10_000));
  socket.resume();
  expect(await server.received()).toEqual([4000, 4000, 2000]);
});

test("a path longer than an address, and a queue that is full", async () => {
  const path = join(root.path, "long".repeat(30), "deep".repeat(30), "socket");
  expect(path.length).toBeGreaterThan(200);
  await serve(path, { waitMs: 300 });
  const sockets = await Promise.all([connectSeqpacket(path), sleep(20).then(() => connectSeqpacket(path))]);
  for (const socket of sockets) socket.destroy();
});

test("nobody there is an error, and an aborted wait the signal's reason", async () => {
  const path = join(root.path, "missing");
  await expect(connectSeqpacket(path)).rejects.toMatchObject({ code: "NOT_FOUND", reason: "ENOENT" });
  const reason = new Error("gone");
  await expect(connectSeqpacket(path, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect(existsSync(path)).toBe(false);
});
