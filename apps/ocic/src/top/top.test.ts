import { expect, test } from "vitest";
import { frame, sparkline } from "./frame.ts";
import type { PodCounters } from "./sample.ts";
import { UseHistory, useBetween } from "./usage.ts";

const counters = (more: Partial<PodCounters> = {}): PodCounters => ({
  ...{ id: "a", name: "web", namespace: "shop", timeNs: 0n, cpuNs: 0n },
  ...{ memoryBytes: 2_000_000, ioBytes: 0, networkBytes: 0 },
  ...more,
});

test("rates are per second of the pod's own clock, and never below zero", () => {
  const after = counters({ timeNs: 2_000_000_000n, cpuNs: 500_000_000n, ioBytes: 4_000, networkBytes: 10 });
  expect(useBetween(counters({ networkBytes: 90 }), after)).toMatchObject({
    cpuPercent: 25,
    ioBytesPerSecond: 2_000,
    networkBytesPerSecond: 0,
  });
  expect(useBetween(undefined, after)).toMatchObject({ cpuPercent: 0, ioBytesPerSecond: 0 });
});

test("a plot is as wide as asked, with the newest at the right", () => {
  expect(sparkline([0, 1, 2, 4], 6)).toBe("  ▁▃▅█");
  expect(sparkline([9, 9, 1, 2], 2)).toBe("▅█");
  expect(sparkline([0, 0], 2)).toBe("▁▁");
  expect(sparkline([], 3)).toBe("   ");
});

test("a frame fits its terminal, is sorted, and lets no name steer it", () => {
  const history = new UseHistory(5);
  const pods = (ns: bigint) => [
    counters({ timeNs: ns }),
    counters({ id: "b", name: "\x1b[2Jbusy".padEnd(90, "x"), timeNs: ns, cpuNs: ns }),
  ];
  history.add(pods(0n));
  const uses = history.add(pods(1_000_000_000n));
  const lines = frame(uses, { columns: 80, rows: 24, sort: "cpu" });
  expect(lines.every(line => line.length <= 80)).toBe(true);
  expect(lines[1]).toContain("100.0%");
  expect(lines[1]).not.toContain("\x1b");
  expect(lines[2]).toMatch(/^shop\/web .*2\.00MB/);
  expect(frame(uses, { columns: 80, rows: 2, sort: "memory" })).toHaveLength(2);
  expect(history.add([counters({ id: "b" })])).toHaveLength(1);
});
