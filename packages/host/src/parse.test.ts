import { describe, expect, test } from "vitest";
import { parseCapabilities } from "./capabilities.ts";
import { readLayout } from "./cgroup-layout.ts";
import { readCgroupUsage, readOomKills } from "./cgroup-usage.ts";
import { parseMountinfo } from "./mount.ts";
import { parseNetworkUsage } from "./namespace-calls.ts";
import { deviceNumbers, makeDevice } from "./node.ts";
import { parseStat } from "./process-state.ts";
import { signalNumber } from "./signal-number.ts";

const v2Mounts = "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

describe("mountinfo", () => {
  test("decodes octal escapes and optional fields", () => {
    const [entry] = parseMountinfo(
      "36 35 98:0 /a\\040b /mnt/caf\\303\\251 rw shared:1 master:2 - ext4 /dev/root rw,errors=continue\n",
    );
    expect(entry).toEqual({
      id: 36,
      parentId: 35,
      device: "98:0",
      root: "/a b",
      target: "/mnt/café",
      options: "rw",
      propagation: ["shared:1", "master:2"],
      fstype: "ext4",
      source: "/dev/root",
      superOptions: "rw,errors=continue",
    });
  });
});

describe("cgroup layout", () => {
  const controllers = { "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids\n" };
  const layoutOf = (files: Record<string, string>) =>
    readLayout(v2Mounts, path => ({ ...controllers, ...files })[path] ?? "");

  test("unified hierarchy with controllers is version 2", () => {
    expect(layoutOf({})).toMatchObject({
      version: 2,
      unified: "/sys/fs/cgroup",
      hierarchies: ["/sys/fs/cgroup"],
      driverDefault: "cgroupfs",
      hugetlb: true,
      swap: false,
    });
  });

  test("systemd makes the cgroups of version 2 where it runs", () => {
    expect(layoutOf({ "/run/systemd/system": "directory" }).driverDefault).toBe("systemd");
  });

  test("our own cgroup tells whether swap is accounted", () => {
    const own = "/sys/fs/cgroup/system.slice/ocid.service";
    const files = {
      "/proc/self/cgroup": "0::/system.slice/ocid.service\n",
      [`${own}/memory.current`]: "1\n",
    };
    expect(layoutOf(files).swap).toBe(false);
    expect(layoutOf({ ...files, [`${own}/memory.swap.max`]: "max\n" }).swap).toBe(true);
    expect(layoutOf({ "/proc/self/cgroup": "0::/\n", "/proc/swaps": "Filename\n" }).swap).toBe(true);
  });

  test("hybrid, with the controllers on version 1, is version 1", () => {
    const mounts = `31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n${v2Mounts.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")}`;
    const layout = readLayout(mounts, () => "");
    expect(layout).toMatchObject({ version: 1, hugetlb: false, swap: false });
    expect(layout.hierarchies).toHaveLength(4);
    expect(layout.controllers.get("cpuacct")).toBe("/sys/fs/cgroup/cpu,cpuacct");
  });
});

describe("cgroup usage", () => {
  const files: Record<string, string> = {
    "cpu/cpu.stat": "usage_usec 1500\nuser_usec 1000\n",
    "memory/memory.current": "1000\n",
    "memory/memory.max": "4000\n",
    "memory/memory.stat": "anon 300\ninactive_file 200\npgfault 7\npgmajfault 1\n",
    "memory/memory.swap.current": "50\n",
    "memory/memory.swap.max": "max\n",
    "memory/memory.events": "oom 3\noom_kill 2\n",
    "pids/pids.current": "4\n",
    "pids/pids.max": "max\n",
  };
  const cgroup = { read: (controller: string, file: string) => files[`${controller}/${file}`] };
  const layout = readLayout(v2Mounts, () => "cpu memory pids");

  test("version 2 counts the working set without inactive files", () => {
    const usage = readCgroupUsage(cgroup, layout);
    expect(usage).toMatchObject({
      cpuUsageNs: 1_500_000n,
      memoryWorkingSetBytes: 800n,
      memoryAvailableBytes: 3200n,
      memoryRssBytes: 300n,
      pids: 4n,
    });
    expect(usage.pidsLimit).toBeUndefined();
    expect(usage.swapAvailableBytes).toBeUndefined();
    expect(readOomKills(cgroup, layout)).toBe(2n);
  });
});

describe("small parsers", () => {
  test("a process name may contain brackets and spaces", () => {
    const text = `42 (a) (b c) S 7 ${"0 ".repeat(17)}12345 0`;
    expect(parseStat(text)).toEqual({
      pid: 42,
      name: "a) (b c",
      state: "S",
      parentPid: 7,
      startTime: 12345n,
    });
  });

  test("network usage leaves loopback out", () => {
    const text =
      "Inter-| Receive\n face |bytes\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0:1000 5 1 0 0 0 0 0 2000 6 2 0 0 0 0 0\n";
    expect(parseNetworkUsage(text)).toEqual([
      {
        name: "eth0",
        rxBytes: 1000n,
        rxPackets: 5n,
        rxErrors: 1n,
        rxDropped: 0n,
        txBytes: 2000n,
        txPackets: 6n,
        txErrors: 2n,
        txDropped: 0n,
      },
    ]);
  });

  test("device numbers survive the round trip", () => {
    for (const [major, minor] of [
      [0, 0],
      [8, 1],
      [4095, 1048575],
      [70000, 300],
    ] as const) {
      expect(deviceNumbers(makeDevice(major, minor))).toEqual({ major, minor });
    }
  });

  test.each([
    ["SIGTERM", 15],
    ["term", 15],
    ["9", 9],
    ["RTMIN+3", 37],
    ["SIGRTMAX-1", 63],
  ])("signal %s is %d", (name, number) => {
    expect(signalNumber(name)).toBe(number);
  });

  test.each(["", "SIGNOPE", "65", "0", "RTMIN-1"])("signal %j is refused", name => {
    expect(() => signalNumber(name)).toThrow(/unknown signal/);
  });

  test("capabilities are read from the kernel's mask", () => {
    expect([...parseCapabilities("0000000000000401")]).toEqual(["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]);
  });
});
