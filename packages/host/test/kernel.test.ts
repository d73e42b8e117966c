import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  bindMount,
  detectCgroups,
  errnoOf,
  getXattr,
  isMountPoint,
  launchNamespaceWorker,
  listXattrs,
  lockFile,
  makeNode,
  mount,
  mountOverlay,
  openBeneath,
  openCgroup,
  openInRoot,
  readCgroupUsage,
  readProcess,
  removeNamespaces,
  runProcess,
  setTimes,
  setXattr,
  signalProcess,
  spawnProcess,
  syncFilesystem,
  tryLockFile,
  unmount,
  waitForProcessEnd,
} from "@ocid/host";
import { leakCheck, tempRoot } from "@ocid/testkit";
import { afterAll, describe, expect, test } from "vitest";

const root = tempRoot("host-");
const leaks = leakCheck();

afterAll(async () => {
  await leaks.expectClean();
  root.remove();
});

function directory(name: string): string {
  const path = join(root.path, name);
  mkdirSync(path, { recursive: true });
  return path;
}

describe("mounts", () => {
  test("a tmpfs and a bind come and go", () => {
    const path = directory("tmpfs");
    mount({ source: "tmpfs", target: path, fstype: "tmpfs", flags: ["nosuid", "nodev"] });
    expect(isMountPoint(path)).toBe(true);
    const bound = directory("bound");
    bindMount(path, bound, { readOnly: true });
    expect(() => writeFileSync(join(bound, "x"), "")).toThrow(/EROFS/);
    expect([unmount(bound), unmount(bound), unmount(path), isMountPoint(path)]).toEqual([
      true,
      false,
      true,
      false,
    ]);
  });

  test("an overlay of three hundred layers with long names is mounted", () => {
    const base = directory("overlay");
    const lowers = Array.from({ length: 300 }, (_, at) => {
      const lower = directory(`overlay/a-layer-with-quite-a-long-name-number-${at}`);
      writeFileSync(join(lower, `file-${at}`), "");
      return lower;
    });
    const [upper, work, target] = [
      directory("overlay/upper"),
      directory("overlay/work"),
      directory("overlay/merged"),
    ];
    mountOverlay({ lowers, upper, work, target });
    expect(readdirSync(target)).toHaveLength(300);
    writeFileSync(join(target, "new"), "x");
    expect(readdirSync(upper)).toEqual(["new"]);
    expect(unmount(target)).toBe(true);
    expect(base).toBeTruthy();
  });

  test("what cannot be mounted is named", () => {
    expect(() => mount({ source: "/no/such", target: "/no/target", flags: ["bind"] })).toThrow(
      /\/no\/such on \/no\/target: ENOENT/,
    );
  });
});

describe("files", () => {
  test("attributes, nodes and times to the nanosecond, of symlinks too", () => {
    const base = directory("files");
    setXattr(base, "trusted.binary", Buffer.from([0, 255, 10]));
    expect(getXattr(base, "trusted.binary")).toEqual(Buffer.from([0, 255, 10]));
    expect(getXattr(base, "trusted.none")).toBeUndefined();
    expect(listXattrs(base)).toContain("trusted.binary");
    makeNode(join(base, "whiteout"), 0o020000, 0, 0);
    expect(statSync(join(base, "whiteout")).isCharacterDevice()).toBe(true);
    symlinkSync("nowhere", join(base, "link"));
    setTimes(join(base, "link"), 5n, -1_987_654_321n);
    expect(execFileSync("stat", ["-c", "%.9Y", join(base, "link")], { encoding: "utf8" }).trim()).toBe(
      "-1.987654321",
    );
  });

  test("a path stays below its root, whatever links there are", () => {
    const base = directory("jail");
    writeFileSync(join(root.path, "hidden"), "outside");
    directory("jail/etc");
    writeFileSync(join(base, "etc/passwd"), "inside");
    symlinkSync("/etc/passwd", join(base, "absolute"));
    symlinkSync("../../hidden", join(base, "climbing"));
    const fd = openSync(base, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const inside = openInRoot(fd, "absolute", constants.O_RDONLY);
      expect(readFileSync(inside, "utf8")).toBe("inside");
      closeSync(inside);
      expect(() => openInRoot(fd, "climbing", constants.O_RDONLY)).toThrow(/ENOENT/);
      expect(() => openBeneath(fd, "absolute", constants.O_RDONLY)).toThrow(/ELOOP|EXDEV/);
      expect(() => openBeneath(fd, "../hidden", constants.O_RDONLY)).toThrow(/EXDEV/);
      expect(() => openInRoot(fd, "a\0b", constants.O_RDONLY)).toThrow(/EINVAL/);
    } finally {
      closeSync(fd);
    }
  });

  test("a file system is synced, and many who ask at once share it", async () => {
    await Promise.all(Array.from({ length: 5 }, () => syncFilesystem(root.path)));
    await expect(syncFilesystem("/no/such")).rejects.toThrow(/ENOENT/);
  });
});

describe("locks", () => {
  const foreign = (path: string): Promise<ChildProcess> =>
    new Promise(resolve => {
      const program =
        "import fcntl,sys,time\nf=open(sys.argv[1],'r+')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\nsys.stdin.read()\n";
      const child = spawn("python3", ["-c", program, path], { stdio: ["pipe", "pipe", "inherit"] });
      child.stdout.once("data", () => resolve(child));
    });

  test("conflict with another program's record lock, name who holds it, and are had when it lets go", async () => {
    const path = join(directory("locks"), "foreign.lock");
    writeFileSync(path, "");
    const holder = await foreign(path);
    expect(tryLockFile(path, { mode: "read" })).toBeUndefined();
    const waits: (number | undefined)[] = [];
    const waiting = lockFile(path, {
      mode: "write",
      onWait: wait => {
        waits.push(wait.holderPid);
        holder.stdin!.end();
      },
    });
    using _lock = await waiting;
    expect(waits[0]).toBe(holder.pid);
  });

  test("exclude within the process, are shared by readers, survive another descriptor's end, and can be given up", async () => {
    const path = join(directory("locks"), "own.lock");
    {
      using first = tryLockFile(path, { mode: "read" })!;
      using second = tryLockFile(path, { mode: "read" })!;
      expect([first, second].every(Boolean)).toBe(true);
      closeSync(openSync(path, "r"));
      expect(tryLockFile(path, { mode: "write" })).toBeUndefined();
      await expect(lockFile(path, { mode: "write", signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
        name: "TimeoutError",
      });
    }
    using third = tryLockFile(path, { mode: "write" });
    expect(third).toBeDefined();
  });
});

describe("processes", () => {
  test("run with their output apart, beside children of Node's own", async () => {
    const nodes = new Promise(resolve => spawn("true").once("exit", resolve));
    const result = await runProcess({
      path: "/bin/sh",
      args: ["-c", "cat; echo err >&2; exit 3"],
      stdin: "in",
    });
    expect([result.code, result.stdout.toString(), result.stderr.toString(), await nodes]).toEqual([
      3,
      "in",
      "err\n",
      0,
    ]);
  });

  test("are missing, too slow, too loud, or cancelled, each with its own error", async () => {
    expect(() => spawnProcess({ path: "/no/such", argv: ["x"], env: {}, stdio: ["ignore"] })).toThrow(
      /\/no\/such: ENOENT/,
    );
    await expect(runProcess({ path: "/bin/sleep", args: ["10"], timeoutMs: 50 })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
    await expect(runProcess({ path: "/usr/bin/yes", args: [], capBytes: 1000 })).rejects.toMatchObject({
      code: "RESOURCE_EXHAUSTED",
    });
    await expect(
      runProcess({ path: "/bin/sleep", args: ["10"], signal: AbortSignal.timeout(50) }),
    ).rejects.toMatchObject({ name: "TimeoutError" });
  });

  test("inherit nothing but what they are given", async () => {
    const { stdout } = await runProcess({
      path: "/bin/sh",
      args: ["-c", "ls /proc/self/fd | tr '\\n' ' '; env"],
      env: { ONLY: "this" },
    });
    expect(stdout.toString()).toMatch(/^0 1 2 3 /);
    expect(stdout.toString()).toContain("ONLY=this");
    expect(stdout.toString()).not.toContain("PATH=/usr");
  });

  test("are signalled only as long as they are the same", async () => {
    const child = spawnProcess({
      path: "/bin/sleep",
      argv: ["sleep", "100"],
      env: {},
      stdio: ["ignore", "ignore", "ignore"],
    });
    const { startTime } = readProcess(child.pid)!;
    expect(signalProcess({ pid: child.pid, startTime: startTime + 1n }, 9)).toBe(false);
    expect(await waitForProcessEnd({ pid: child.pid, startTime }, { timeoutMs: 50 })).toBe(false);
    expect(signalProcess({ pid: child.pid, startTime }, 9)).toBe(true);
    expect(await child.exited).toEqual({ code: null, signal: "SIGKILL" });
    expect(signalProcess({ pid: child.pid, startTime }, 9)).toBe(false);
  });
});

describe("namespaces", () => {
  test("are pinned with loopback, host name and sysctls of their own, and unpinned without a trace", async () => {
    const home = readlinkSync("/proc/self/ns/net");
    await using worker = launchNamespaceWorker();
    const pins = directory("namespaces");
    const made = await worker.create({
      directory: pins,
      net: true,
      ipc: true,
      uts: true,
      hostname: "pod-x",
      sysctls: { "net.ipv4.ip_default_ttl": "77", "kernel.msgmax": "4242" },
    });
    const inside = execFileSync(
      "nsenter",
      [
        `--net=${made.net}`,
        `--uts=${made.uts}`,
        `--ipc=${made.ipc}`,
        "sh",
        "-c",
        "hostname; cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax; cat /sys/class/net/lo/flags",
      ],
      { encoding: "utf8" },
    );
    expect(inside.split("\n").slice(0, 3)).toEqual(["pod-x", "77", "4242"]);
    expect(readFileSync("/proc/sys/net/ipv4/ip_default_ttl", "utf8").trim()).not.toBe("77");
    expect(readlinkSync("/proc/self/ns/net")).toBe(home);
    const server = spawn(
      "nsenter",
      [
        `--net=${made.net}`,
        "python3",
        "-m",
        "http.server",
        "8099",
        "--bind",
        "127.0.0.1",
        "-d",
        "/proc/sys/kernel",
      ],
      { stdio: "ignore" },
    );
    try {
      let text = "";
      for (let attempt = 0; text === "" && attempt < 100; attempt++) {
        const socket = await worker.connect(made.net!, 8099).catch(() => undefined);
        if (!socket) {
          await new Promise(resolve => setTimeout(resolve, 30));
          continue;
        }
        socket.end("GET /ostype HTTP/1.0\r\n\r\n");
        for await (const chunk of socket) text += chunk;
      }
      expect(text).toContain("Linux");
      await expect(worker.connect(made.net!, 1)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    } finally {
      const ended = new Promise(resolve => server.once("exit", resolve));
      server.kill("SIGKILL");
      await ended;
    }
    removeNamespaces(pins);
    expect(readdirSync(pins)).toEqual([]);
  });

  test("a user namespace owns the others and has the ids that were asked for", async () => {
    await using worker = launchNamespaceWorker();
    const pins = directory("user-namespace");
    const ids = [{ containerID: 0, hostID: 200_000, size: 65_536 }];
    const made = await worker.create({
      directory: pins,
      net: true,
      ipc: true,
      uts: true,
      hostname: "u",
      sysctls: {},
      userMappings: { uids: ids, gids: ids },
    });
    const map = execFileSync(
      "nsenter",
      [`--user=${made.user}`, `--net=${made.net}`, "cat", "/proc/self/uid_map"],
      { encoding: "utf8" },
    );
    expect(map.trim().split(/\s+/)).toEqual(["0", "200000", "65536"]);
    removeNamespaces(pins);
  });

  test("a failure leaves no pin", async () => {
    await using worker = launchNamespaceWorker();
    const pins = directory("bad-namespaces");
    await expect(
      worker.create({ directory: pins, net: true, ipc: false, uts: false, sysctls: { "net.no.such": "1" } }),
    ).rejects.toThrow(/ENOENT/);
    expect(readdirSync(pins)).toEqual([]);
  });
});

describe("cgroups", () => {
  test("hold processes, measure, kill and vanish", async () => {
    const cgroup = openCgroup(`/ocid-host-test-${process.pid}/inner`);
    cgroup.create();
    const child = spawnProcess({
      path: "/bin/sh",
      argv: ["sh", "-c", "sleep 100 & sleep 100"],
      env: { PATH: "/bin:/usr/bin" },
      stdio: ["ignore", "ignore", "ignore"],
    });
    cgroup.addProcess(child.pid);
    expect(cgroup.processes()).toContain(child.pid);
    expect(readCgroupUsage(cgroup).pids).toBeGreaterThanOrEqual(1n);
    await cgroup.kill();
    expect((await child.exited).signal).toBe("SIGKILL");
    const parent = openCgroup(`/ocid-host-test-${process.pid}`);
    await parent.remove();
    await parent.remove();
    expect([cgroup.exists(), parent.exists()]).toEqual([false, false]);
    expect(() => openCgroup("/")).toThrow(/not a cgroup of a pod/);
    expect(() => openCgroup("/a/../..")).toThrow(/not a cgroup/);
    expect([1, 2]).toContain(detectCgroups().version);
  });
});

test("errno is told of our errors and of Node's", () => {
  expect(errnoOf(Object.assign(new Error("x"), { code: "EBUSY" }))).toBe("EBUSY");
  expect(errnoOf(new Error("x"))).toBeUndefined();
});
