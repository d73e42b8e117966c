import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { notifyService } from "@ocid/host";
import { tempRoot } from "@ocid/testkit";
import { afterAll, expect, test } from "vitest";

const root = tempRoot("host-");
afterAll(() => root.remove());

// What systemd does: one datagram is one state.
const program = `
use Socket; $| = 1; my ($name) = @ARGV; $name =~ s/^@/\\0/;
socket(my $server, AF_UNIX, SOCK_DGRAM, 0) or die $!;
bind($server, pack_sockaddr_un($name)) or die $!; print "ready\n";
recv($server, my $state, 1 << 16, 0); print $state;`;

test.each([join(root.path, "notify"), `@ocid-test-${process.pid}`])(
  "a state is one datagram to %s",
  async socket => {
    const child = spawn("perl", ["-e", program, socket], { stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    child.stdout.on("data", chunk => {
      said += chunk;
    });
    const closed = once(child, "close");
    await once(child.stdout, "data");
    notifyService("READY=1\nSTATUS=here", socket);
    await closed;
    expect(said).toBe("ready\nREADY=1\nSTATUS=here");
  },
);

test("without a service manager nobody is told", () => {
  notifyService("READY=1", undefined);
  notifyService("READY=1", "");
});

test("a socket that has gone, and a name that is none, are told", () => {
  expect(() => notifyService("READY=1", join(root.path, "gone"))).toThrow(/connect.*gone.*ENOENT/s);
  expect(() => notifyService("READY=1", "vsock:2:1")).toThrow(/no unix socket's name/);
  expect(() => notifyService("READY=1", `/${"x".repeat(200)}`)).toThrow(/no unix socket's name/);
});
