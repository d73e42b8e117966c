import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { tempRoot } from "@ocid/testkit";
import { afterAll, expect, test } from "vitest";

const ocid = join(import.meta.dirname, "../../../apps/ocid/dist/ocid");
const root = tempRoot("e2e-config-");
afterAll(() => root.remove());

function configure(name: string, log: string): string {
  const directory = join(root.path, name);
  mkdirSync(join(directory, "ocid.conf.d"), { recursive: true });
  const config = join(directory, "ocid.conf");
  writeFileSync(
    config,
    [
      `storage = { root = "${directory}/r", runroot = "${directory}/rr" }`,
      `[server]\nlisten = "${directory}/ocid.sock"\nstate_dir = "${directory}/state"\nsocket_group = "daemon"`,
      `[network]\nconfig_dir = "${directory}/net.d"`,
    ].join("\n"),
  );
  writeFileSync(join(directory, "ocid.conf.d/10-log.conf"), log);
  return config;
}

test("a mistake is told with file and line, by the daemon and by validate", () => {
  const config = configure("mistake", '[log]\nlevel = "chatty"\n');
  const told = `${config}.d/10-log.conf:2: log.level: expected one of debug, info, warn, error, found "chatty"`;
  const daemon = spawnSync(ocid, ["--config", config], { encoding: "utf8" });
  expect(daemon).toMatchObject({ status: 1, stderr: `ocid: ${told}\n` });
  const validate = spawnSync(ocid, ["config", "validate", config], { encoding: "utf8" });
  expect(validate).toMatchObject({ status: 1, stdout: `${told}\n` });
});

test("what config prints, the daemon takes", () => {
  const printed = execFileSync(ocid, ["config", "--default"], { encoding: "utf8" });
  const file = join(root.path, "printed.conf");
  writeFileSync(file, printed);
  expect(execFileSync(ocid, ["config", "validate", file], { encoding: "utf8" })).toBe(`${file}: good\n`);
});

test("tells the service manager, opens its socket to the group, and reads its configuration again", async () => {
  const config = configure("service", '[log]\nlevel = "warn"\n');
  const directory = join(root.path, "service");
  const manager = spawn("perl", ["-e", serviceManager, join(directory, "notify")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let told = "";
  manager.stdout.on("data", chunk => {
    told += chunk;
  });
  await once(manager.stdout, "data");
  const daemon = spawn(ocid, ["--config", config], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, NOTIFY_SOCKET: join(directory, "notify"), WATCHDOG_USEC: "200000" },
  });
  let log = "";
  daemon.stderr.on("data", chunk => {
    log += chunk;
  });
  try {
    await until(() => told.includes("READY=1") && told.includes("WATCHDOG=1"));
    const socket = statSync(join(directory, "ocid.sock"));
    const group = /^daemon:[^:]*:(\d+):/m.exec(readFileSync("/etc/group", "utf8"))?.[1];
    expect([(socket.mode & 0o777).toString(8), String(socket.gid)]).toEqual(["660", group]);

    writeFileSync(join(`${config}.d/10-log.conf`), '[log]\nlevel = "info"\n[server]\nstream_port = 1\n');
    daemon.kill("SIGHUP");
    await until(() => log.includes("read the configuration again"));
    expect(log).toMatch(/changed=log\.level needsRestart=server\.stream_port/);
    writeFileSync(join(`${config}.d/10-log.conf`), "[log]\nlevel = 7\n");
    daemon.kill("SIGHUP");
    await until(() => log.includes("has a mistake"));
    expect(log).toMatch(/10-log\.conf:2: log\.level: expected one of/);
    await until(() => told.split("RELOADING=1").length === 3 && told.split("READY=1").length === 4);
  } finally {
    const ended = once(daemon, "exit");
    daemon.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
    await until(() => told.includes("STOPPING=1"));
    manager.kill();
  }
});

/** Prints each datagram, as systemd would read them. */
const serviceManager = `
use Socket; $| = 1; socket(my $server, AF_UNIX, SOCK_DGRAM, 0) or die $!;
bind($server, pack_sockaddr_un($ARGV[0])) or die $!; print "listening\\n";
while (defined recv($server, my $state, 1 << 16, 0)) { print "$state\\n" }`;

async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error("what the test waits for did not come");
    await sleep(20);
  }
}
