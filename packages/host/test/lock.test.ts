import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { type FileLock, lockFile, tryLockFile } from "@ocid/host";
import { tempRoot } from "@ocid/testkit";
import { afterAll, afterEach, describe, expect, test } from "vitest";

const root = tempRoot("host-");
const path = join(root.path, "storage.lock");
const others: ChildProcess[] = [];

// A program that knows only POSIX record locks, as those that share our store do. struct flock: type, whence, start,
// length, pid; commands 6 (F_SETLK) and 7 (F_SETLKW).
const locker = `
use Fcntl; $| = 1; my ($path, $type) = @ARGV;
open(my $file, "+>>", $path) or die $!;
sub lock { fcntl($file, $_[0], pack("s s x4 q q l x4", $_[1], 0, 0, 0, 0)) }
while (my $line = <STDIN>) {
  if ($line eq "lock\\n") { print lock(6, $type) ? "locked\\n" : "refused\\n" }
  else { lock(6, 2); print "unlocked\\n" }
}`;

async function foreign(mode: "read" | "write") {
  const child = spawn("perl", ["-e", locker, path, mode === "read" ? "0" : "1"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  others.push(child);
  return {
    pid: child.pid!,
    async ask(line: "lock" | "unlock"): Promise<string> {
      child.stdin.write(`${line}\n`);
      return String((await once(child.stdout, "data"))[0]).trim();
    },
    async end() {
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}

afterEach(() => {
  for (const child of others.splice(0)) child.kill("SIGKILL");
});
afterAll(() => root.remove());

describe("locks and another program's record locks", () => {
  test("each keeps the other out, and readers share", async () => {
    const writer = await foreign("write");
    const reader = await foreign("read");
    {
      using _lock = tryLockFile(path, { mode: "read" })!;
      expect(await writer.ask("lock")).toBe("refused");
      expect(await reader.ask("lock")).toBe("locked");
      expect(tryLockFile(path, { mode: "write" })).toBeUndefined();
    }
    expect(tryLockFile(path, { mode: "write" })).toBeUndefined();
    await reader.ask("unlock");
    {
      using _lock = tryLockFile(path, { mode: "write" })!;
      expect(await reader.ask("lock")).toBe("refused");
    }
    expect(await writer.ask("lock")).toBe("locked");
    expect(tryLockFile(path, { mode: "read" })).toBeUndefined();
  });

  test("closing another descriptor of the file does not drop it", async () => {
    // Waits for the lock's last holder, which may still be dying: it was killed a moment ago.
    await using _lock = await lockFile(path, { mode: "write" });
    closeSync(openSync(path, "r"));
    expect(await (await foreign("write")).ask("lock")).toBe("refused");
  });

  test("waits for a holder, names it, and has the lock when the holder dies", async () => {
    const holder = await foreign("write");
    expect(await holder.ask("lock")).toBe("locked");
    const waits: (number | undefined)[] = [];
    const waiting = lockFile(path, {
      mode: "write",
      onWait: wait => {
        waits.push(wait.holderPid);
        void holder.end();
      },
    });
    using lock = await waiting;
    expect(waits).toEqual([holder.pid]);
    expect(lock.fd).toBeGreaterThan(2);
  });

  test("gives up with the signal's reason and leaves no lock behind", async () => {
    const holder = await foreign("read");
    await holder.ask("lock");
    const controller = new AbortController();
    const reason = new Error("the caller has gone");
    const waiting = lockFile(path, {
      mode: "write",
      signal: controller.signal,
      onWait: () => controller.abort(reason),
    });
    await expect(waiting).rejects.toBe(reason);
    await holder.ask("unlock");
    expect(await (await foreign("write")).ask("lock")).toBe("locked");
  });
});

test("in one process writers come one after the other", async () => {
  let inside = 0;
  let most = 0;
  const work = async (lock: FileLock) => {
    most = Math.max(most, ++inside);
    await new Promise(resolve => setImmediate(resolve));
    inside--;
    lock.release();
    lock.release();
  };
  await Promise.all(Array.from({ length: 20 }, async () => work(await lockFile(path, { mode: "write" }))));
  expect(most).toBe(1);
});

test("a lock file that cannot be made is the error of its path", async () => {
  await expect(lockFile(join(root.path, "missing/lock"), { mode: "read" })).rejects.toMatchObject({
    code: "ENOENT",
  });
});
