import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openCgroup } from "./cgroup.ts";
import { type CgroupLayout, readLayout } from "./cgroup-layout.ts";
import { parsePressure } from "./cgroup-pressure.ts";
import { readLostOomKills } from "./lost-oom-kills.ts";

// A directory stands for the unified hierarchy: what is read and written where; what the kernel makes of it is for a
// machine that has it.
let root: string;
let layout: CgroupLayout;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "cgroup-"));
  layout = readLayout(`25 30 0:23 / ${root} rw - cgroup2 cgroup2 rw\n`, path =>
    path.endsWith("cgroup.controllers") ? "cpu io memory pids\n" : "",
  );
});
afterEach(() => rmSync(root, { recursive: true }));

const put = (path: string, files: Readonly<Record<string, string>>) => {
  mkdirSync(join(root, path), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, path, name), text);
};

describe("a cgroup of version 2", () => {
  test("is made below parents that pass every controller on", () => {
    put("", { "cgroup.subtree_control": "" });
    put("pods", { "cgroup.subtree_control": "" });
    openCgroup("/pods/one", layout).create();
    for (const parent of ["", "pods"])
      expect(readFileSync(join(root, parent, "cgroup.subtree_control"), "utf8")).toBe("+pids");
  });

  test("lists processes of its own and below, without those of other pid namespaces", () => {
    put("pods/one", { "cgroup.procs": "12\n0\n13\n" });
    put("pods/one/two", { "cgroup.procs": "14\n" });
    const cgroup = openCgroup("pods/one/", layout);
    expect([cgroup.exists(), cgroup.directories]).toEqual([true, [join(root, "pods/one")]]);
    expect(cgroup.processes()).toEqual([12, 13]);
    expect(cgroup.processes(true)).toEqual([12, 13, 14]);
  });

  test("is killed through cgroup.kill, and what does not end in time is named", async () => {
    put("pods/one", { "cgroup.procs": "999999\n", "cgroup.kill": "" });
    const cgroup = openCgroup("/pods/one", layout);
    await expect(cgroup.kill({ timeoutMs: 5 })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
      message: expect.stringContaining("/pods/one did not end within 5 ms of being killed: 999999"),
    });
    expect(readFileSync(join(root, "pods/one/cgroup.kill"), "utf8")).toBe("1");
  });

  test("tells usage, traffic, pressure and OOM kills from the kernel's files", () => {
    put("pods/one", {
      "cpu.stat": "usage_usec 2500\n",
      "memory.current": "5000\n",
      "memory.max": "max\n",
      "memory.stat": "anon 1000\ninactive_file 1500\npgfault 3\npgmajfault 1\n",
      "memory.swap.current": "10\n",
      "memory.swap.max": "30\n",
      "memory.events": "low 0\noom 4\noom_kill 3\noom_group_kill 0\n",
      "pids.current": "2\n",
      "pids.max": "100\n",
      "io.stat":
        "8:0 rbytes=100 wbytes=200 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
      "cpu.pressure":
        "some avg10=1.50 avg60=0.25 avg300=0.00 total=123456789012\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    });
    const cgroup = openCgroup("/pods/one", layout);
    const { timestampNs, ...usage } = cgroup.usage();
    expect(timestampNs).toBeGreaterThan(1_700_000_000_000_000_000n);
    expect(usage).toEqual({
      cpuUsageNs: 2_500_000n,
      memoryUsageBytes: 5000n,
      memoryWorkingSetBytes: 3500n,
      memoryRssBytes: 1000n,
      memoryPageFaults: 3n,
      memoryMajorPageFaults: 1n,
      swapUsageBytes: 10n,
      swapAvailableBytes: 20n,
      pids: 2n,
      pidsLimit: 100n,
      io: { readBytes: 101n, writeBytes: 202n, reads: 4n, writes: 6n },
    });
    expect(cgroup.usage([])).not.toHaveProperty("io");
    expect(cgroup.usage([])).not.toHaveProperty("pids");
    expect(cgroup.usage(["tasks"])).toMatchObject({ memoryUsageBytes: 5000n, pids: 2n, pidsLimit: 100n });
    expect(cgroup.oomKills()).toBe(3n);
    expect(cgroup.pressure()).toEqual({
      cpu: {
        some: { avg10: 1.5, avg60: 0.25, avg300: 0, totalUs: 123_456_789_012n },
        full: { avg10: 0, avg60: 0, avg300: 0, totalUs: 0n },
      },
    });
  });

  test("tells OOM kills of those below that are gone", () => {
    const kills = (count: number) => ({ "memory.events": `low 0\noom 9\noom_kill ${count}\n` });
    put("pods", kills(7));
    put("pods/one", kills(3));
    put("pods/one/inner", kills(3));
    put("pods/without-controller", {});
    expect(readLostOomKills("/pods", layout)).toBe(4n);
    rmSync(join(root, "pods/one"), { recursive: true });
    expect(readLostOomKills("/pods", layout)).toBe(7n);
    expect(readLostOomKills("/gone", layout)).toBe(0n);
    expect(readLostOomKills("/pods", { ...layout, version: 1 })).toBeUndefined();
  });

  test("what has gone is empty, and a limit that cannot be written names its file", () => {
    const cgroup = openCgroup("/pods/gone", layout);
    expect([cgroup.exists(), cgroup.processes(true), cgroup.oomKills()]).toEqual([false, [], 0n]);
    expect(() => cgroup.setResources({ pids: { limit: 5 } })).toThrow(
      `write "5" to ${join(root, "pods/gone/pids.max")}: ENOENT`,
    );
  });
});

test.each(["", "some avg10=x", "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"])(
  "%j is no pressure",
  text => {
    expect(parsePressure(text)).toBeUndefined();
  },
);
