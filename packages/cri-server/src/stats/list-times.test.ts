import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ListTimes } from "./list-times.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test("looks of the last period count, but none that an earlier list may have told", () => {
  const lists = new ListTimes(10_000);
  const began = performance.now();
  expect(lists.begin()).toBe(began - 10_000);
  vi.advanceTimersByTime(300);
  lists.end();
  vi.advanceTimersByTime(9_000);
  expect(lists.begin()).toBe(began + 300);
  lists.end();
  vi.advanceTimersByTime(20_000);
  expect(lists.begin()).toBe(performance.now() - 10_000);
});

test("lists that begin within half a second share, and the next one does not tell what any of them has told", () => {
  const lists = new ListTimes(10_000);
  const since = lists.begin();
  vi.advanceTimersByTime(200);
  lists.end();
  vi.advanceTimersByTime(299);
  expect(lists.begin()).toBe(since);
  const ended = performance.now();
  lists.end();
  vi.advanceTimersByTime(1);
  expect(lists.begin()).toBe(ended);
});

test("without a period looks are shared for half a second", () => {
  const lists = new ListTimes(0);
  expect(lists.begin()).toBe(performance.now() - 500);
});
