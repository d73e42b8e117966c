import { performance } from "node:perf_hooks";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { SourceTime } from "./source-time.ts";

let now: number;
let idle: number;

beforeEach(() => {
  [now, idle] = [1000, 500];
  vi.spyOn(performance, "now").mockImplementation(() => now);
  vi.spyOn(performance, "eventLoopUtilization").mockImplementation(begin => ({
    active: 0,
    idle: idle - (begin?.idle ?? 0),
    utilization: 0,
  }));
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** The clock goes on; the thread has nothing to do for a part of that time. */
function pass(ms: number, idleMs = ms): void {
  now += ms;
  idle += idleMs;
}

test("the time since it began counts as far as the thread was idle", () => {
  const time = new SourceTime();
  pass(30);
  pass(50, 10);
  expect(time.ms).toBe(40);
});

test("the time in which the source is held up does not count", async () => {
  const time = new SourceTime();
  const [one, other] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  pass(10);
  time.hold(one.promise);
  pass(100);
  expect(time.ms).toBe(10);
  time.hold(other.promise);
  one.resolve();
  await one.promise;
  pass(100);
  expect(time.ms).toBe(10);
  other.reject(new Error("left"));
  await other.promise.catch(() => {});
  pass(5);
  expect(time.ms).toBe(15);
});

test("it is never less than none", () => {
  const time = new SourceTime();
  time.hold(new Promise(() => {}));
  pass(100, 20);
  expect(time.ms).toBe(0);
});
