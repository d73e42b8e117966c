import { spawn, spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  becomeSubreaper,
  cleanEnvironment,
  findExecutable,
  isRunning,
  readProcess,
  runProcess,
  signalProcess,
  spawnProcess,
  waitForProcessEnd,
} from "@ocid/host";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterAll, describe, expect, test } from "vitest";

const leaks = leakCheck();
const root = tempRoot("host-");
const shell = "/bin/sh";

afterAll(async () => {
  root.remove();
  await leaks.expectClean();
});

async function textOf(pipe: Socket | undefined): Promise<string> {
  let text = "";
  for await (const chunk of pipe!) text += chunk;
  return text;
}

describe("runProcess", () => {
  test("keeps outputs apart, feeds stdin, and returns a bad exit as a result", async () => {
    const script = 'read line; echo "got $line in $PWD with $WORD"; echo bad >&2; exit 3';
    const result = await runProcess({
      path: shell,
      args: ["-c", script],
      cwd: root.path,
      env: { WORD: "ä" },
      stdin: "text\n",
    });
    expect(result).toEqual({
      code: 3,
      signal: null,
      stdout: Buffer.from(`got text in ${root.path} with ä\n`),
      stderr: Buffer.from("bad\n"),
    });
  });

  test("a signal that ends it is named", async () => {
    const result = await runProcess({ path: shell, args: ["-c", "kill -TERM $$"] });
    expect(result).toMatchObject({ code: null, signal: "SIGTERM" });
  });

  test("kills what runs too long, says too much, or is not wanted any more", async () => {
    const endless = { path: shell, args: ["-c", "while :; do echo x; done"] };
    const sleeping = { path: shell, args: ["-c", "sleep 60"] };
    await expect(runProcess({ ...sleeping, timeoutMs: 30 })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
    await expect(runProcess({ ...endless, capBytes: 10_000 })).rejects.toMatchObject({
      code: "RESOURCE_EXHAUSTED",
    });
    const reason = new Error("cancelled");
    const controller = new AbortController();
    const running = runProcess({ ...sleeping, signal: controller.signal });
    controller.abort(reason);
    await expect(running).rejects.toBe(reason);
    await expect(runProcess({ ...sleeping, signal: controller.signal })).rejects.toBe(reason);
  });

  test("what a grandchild leaves open does not hold it up", async () => {
    const result = await runProcess({ path: shell, args: ["-c", "sleep 30 & echo $!"] });
    process.kill(Number(result.stdout), "SIGKILL");
  });

  test("output of megabytes comes whole", async () => {
    const result = await runProcess({
      path: shell,
      args: ["-c", "head -c 3000000 /dev/zero"],
      capBytes: 3_000_000,
    });
    expect(result.stdout.byteLength).toBe(3_000_000);
  });
});

describe("spawnProcess", () => {
  test("gives a socket that both sides read and write", async () => {
    const child = spawnProcess({
      path: shell,
      argv: ["sh", "-c", "read line <&3; echo got $line >&3"],
      env: {},
      stdio: ["ignore", "ignore", "ignore", "socket"],
    });
    const socket = child.stdio[3]!;
    socket.write("word\n");
    expect(await textOf(socket)).toBe("got word\n");
    expect(await child.exited).toEqual({ code: 0, signal: null });
  });

  test("a missing program, directory or permission is an error at once", () => {
    const request = { argv: ["x"], env: {}, stdio: [] } as const;
    const plain = join(root.path, "plain");
    writeFileSync(plain, "text", { mode: 0o644 });
    expect(() => spawnProcess({ ...request, path: "/nonexistent" })).toThrow(
      "posix_spawn /nonexistent: ENOENT",
    );
    expect(() => spawnProcess({ ...request, path: plain })).toThrow(/EACCES/);
    expect(() => spawnProcess({ ...request, path: shell, cwd: "/nonexistent" })).toThrow(/ENOENT/);
    expect(() => spawnProcess({ ...request, path: shell, argv: ["sh", "a\0b"] })).toThrow(/NUL/);
    expect(() => spawnProcess({ ...request, path: shell, stdio: [999] })).toThrow(/EBADF/);
  });

  test("descriptors reach the child under their own numbers, in any order, and no others do", async () => {
    const files = ["zero", "one", "two"].map(name => {
      const path = join(root.path, name);
      writeFileSync(path, `${name}\n`);
      return openSync(path, "r");
    });
    // The lowest descriptors of ours at the highest of the child, so that each could overwrite the next.
    const stdio = ["ignore", "pipe", "pipe", ...files.toReversed()] as const;
    const script = "cat <&3; cat <&4; cat <&5; ls /proc/$$/fd; readlink /proc/$$/fd/0";
    const child = spawnProcess({ path: shell, argv: ["sh", "-c", script], env: cleanEnvironment(), stdio });
    const lines = (await textOf(child.stdio[1])).trim().split("\n");
    expect(await child.exited).toEqual({ code: 0, signal: null });
    for (const fd of files) closeSync(fd);
    // Listed by a program without a pipe: while the shell makes one, it has descriptors more for a moment.
    expect(lines).toEqual(["two", "one", "zero", "0", "1", "2", "3", "4", "5", "/dev/null"]);
  });

  test("a low descriptor of ours is not overwritten before its turn", async () => {
    const path = join(root.path, "swapped");
    // The program is started with a file as descriptor 3 and swaps it with its own output for its child.
    const program = `
      import { spawnProcess } from "@ocid/host";
      const end = await spawnProcess({ path: "${shell}", argv: ["sh", "-c", "echo to-1; echo to-3 >&3"], env: {}, stdio: ["ignore", 3, 2, 1] }).exited;
      process.exit(end.code);`;
    const file = openSync(path, "w");
    const run = spawnSync(
      process.execPath,
      ["--conditions=@ocid/source", "--input-type=module", "-e", program],
      {
        cwd: import.meta.dirname,
        stdio: ["ignore", "pipe", "inherit", file],
      },
    );
    closeSync(file);
    expect(run.status).toBe(0);
    expect(run.stdout.toString()).toBe("to-3\n");
    expect(readFileSync(path, "utf8")).toBe("to-1\n");
  });

  test("extra pipes in both directions", async () => {
    const child = spawnProcess({
      path: shell,
      argv: ["sh", "-c", "tr a-z A-Z <&4 >&3"],
      env: cleanEnvironment(),
      stdio: ["ignore", "ignore", "ignore", "out", "in"],
    });
    child.stdio[4]!.end("quiet");
    expect(await textOf(child.stdio[3])).toBe("QUIET");
    expect((await child.exited).code).toBe(0);
  });

  test("signals are as the child expects them: default, unblocked", async () => {
    const result = await runProcess({
      path: "/bin/grep",
      args: ["-E", "^Sig(Blk|Ign)", "/proc/self/status"],
    });
    expect(result.stdout.toString()).toBe("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  });

  test("a session of its own", async () => {
    const request = { path: "/bin/cat", argv: ["cat", "/proc/self/stat"], env: {} };
    for (const newSession of [true, false]) {
      const child = spawnProcess({ ...request, stdio: ["ignore", "pipe", 2], newSession });
      const session = Number((await textOf(child.stdio[1])).split(" ")[5]);
      expect(session === child.pid).toBe(newSession);
      await child.exited;
    }
  });

  test("two hundred at once, beside children of node:child_process, each with its own exit", async () => {
    const ours = Array.from(
      { length: 100 },
      (_, index) =>
        spawnProcess({ path: shell, argv: ["sh", "-c", `exit ${index}`], env: {}, stdio: [] }).exited,
    );
    const nodes = Array.from(
      { length: 100 },
      (_, index) =>
        new Promise(resolve => {
          spawn(shell, ["-c", `exit ${index}`], { stdio: "ignore" }).once("exit", resolve);
        }),
    );
    expect(spawnSync(shell, ["-c", "exit 7"]).status).toBe(7);
    expect((await Promise.all(ours)).map(end => end.code)).toEqual(Array.from({ length: 100 }, (_, n) => n));
    expect(await Promise.all(nodes)).toEqual(Array.from({ length: 100 }, (_, n) => n));
  });
});

test("programs are found in PATH and the usual directories", () => {
  expect(findExecutable("sh")).toMatch(/^\/.*\/sh$/);
  expect(findExecutable(shell)).toBe(shell);
  expect(findExecutable("no-such-program")).toBeUndefined();
  expect(findExecutable("bin/sh")).toBeUndefined();
  expect(findExecutable("/etc/passwd")).toBeUndefined();
});

describe("processes by identity", () => {
  test("a later process with the same pid is another one", async () => {
    const child = spawnProcess({ path: "/bin/sleep", argv: ["sleep", "60"], env: {}, stdio: [] });
    const state = readProcess(child.pid)!;
    expect(state).toMatchObject({ pid: child.pid, name: "sleep", parentPid: process.pid });
    const other = { pid: child.pid, startTime: state.startTime + 1n };
    expect(readProcess(other.pid, other.startTime)).toBeUndefined();
    expect(signalProcess(other, 9)).toBe(false);
    expect(await waitForProcessEnd(other)).toBe(true);
    expect(isRunning(state)).toBe(true);
    expect(await waitForProcessEnd(state, { timeoutMs: 5 })).toBe(false);
    const reason = new Error("enough");
    await expect(waitForProcessEnd(state, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(signalProcess(state, 15)).toBe(true);
    expect(await waitForProcessEnd(state)).toBe(true);
    expect(await child.exited).toEqual({ code: null, signal: "SIGTERM" });
    expect(signalProcess(state, 15)).toBe(false);
    child.kill("SIGKILL");
  });
});

describe("becomeSubreaper", () => {
  test("reaps adopted orphans and leaves the children of others alone", async () => {
    using _reaper = becomeSubreaper();
    const { stdout } = await runProcess({
      path: shell,
      args: ["-c", "for n in 1 2 3; do sh -c 'sleep 0.1; exit 5' & echo $!; done"],
    });
    const orphans = stdout.toString().trim().split("\n").map(Number);
    expect(orphans.map(pid => readProcess(pid)?.parentPid)).toEqual([process.pid, process.pid, process.pid]);
    const exits: Promise<unknown>[] = [];
    // Children of both kinds end again and again while the reaper looks.
    for (let round = 0; round < 40; round++) {
      exits.push(spawnProcess({ path: shell, argv: ["sh", "-c", "exit 3"], env: {}, stdio: [] }).exited);
      exits.push(
        new Promise(resolve =>
          spawn(shell, ["-c", "exit 4"]).once("exit", code => resolve({ code, signal: null })),
        ),
      );
      await sleep(5);
    }
    const ends = await Promise.all(exits);
    expect(ends).toEqual(ends.map((_, index) => ({ code: index % 2 === 0 ? 3 : 4, signal: null })));
    await expect
      .poll(() => orphans.map(pid => readProcess(pid)?.state), { timeout: 10_000 })
      .toEqual([undefined, undefined, undefined]);
  });

  test("a blocked event loop does not make it take libuv's children", async () => {
    using _reaper = becomeSubreaper();
    const exit = new Promise(resolve => spawn(shell, ["-c", "exit 6"]).once("exit", resolve));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
    expect(await exit).toBe(6);
  });
});
