import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RecentLooks } from "./recent-looks.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});
const anew = Number.POSITIVE_INFINITY;
const ago = (ms: number) => performance.now() - ms;

test("a look serves those who ask while it goes on and shortly after, and nobody later", async () => {
  const looks = new RecentLooks<object, number>();
  const [thing, other] = [{}, {}];
  let count = 0;
  const look = async () => ++count;
  expect(await Promise.all([looks.at(thing, ago(500), look), looks.at(thing, ago(500), look)])).toEqual([
    1, 1,
  ]);
  vi.advanceTimersByTime(499);
  expect(await looks.at(thing, ago(500), look)).toBe(1);
  expect(await looks.at(other, ago(500), look)).toBe(2);
  vi.advanceTimersByTime(1);
  expect(await looks.at(thing, ago(500), look)).toBe(3);
  expect(await looks.at(thing, anew, look)).toBe(4);
  expect(await looks.at(thing, ago(500), look)).toBe(4);
});

test("a look that fails is not kept, and what an earlier one has found is", async () => {
  const looks = new RecentLooks<object, string>();
  const thing = {};
  const gone = () => Promise.reject(new Error("gone"));
  await expect(looks.at(thing, ago(60_000), gone)).rejects.toThrow("gone");
  expect(await looks.at(thing, ago(60_000), async () => "there")).toBe("there");
  await expect(looks.at(thing, anew, gone)).rejects.toThrow("gone");
  expect(await looks.at(thing, ago(60_000), gone)).toBe("there");
});

test("who may have the last look does not wait for the one under way, and an older one never comes after a newer", async () => {
  const looks = new RecentLooks<object, string>();
  const thing = {};
  await looks.at(thing, anew, async () => "first");
  vi.advanceTimersByTime(100);
  const { promise, resolve } = Promise.withResolvers<string>();
  const slow = looks.at(thing, anew, () => promise);
  expect(await looks.at(thing, ago(101), async () => "not asked")).toBe("first");
  vi.advanceTimersByTime(100);
  expect(await looks.at(thing, anew, async () => "third")).toBe("third");
  resolve("second");
  expect(await slow).toBe("second");
  expect(await looks.at(thing, ago(50), async () => "not asked")).toBe("third");
});

test("tells when the last look began, also of one that goes on; what is forgotten was never looked at", async () => {
  const looks = new RecentLooks<object, number>();
  const thing = {};
  expect(looks.lastAtMs(thing)).toBe(Number.NEGATIVE_INFINITY);
  const began = performance.now();
  await looks.at(thing, anew, async () => 1);
  vi.advanceTimersByTime(10);
  void looks.at(thing, anew, () => new Promise(() => {}));
  expect(looks.lastAtMs(thing)).toBe(began + 10);
  looks.forget();
  expect(looks.lastAtMs(thing)).toBe(Number.NEGATIVE_INFINITY);
  expect(await looks.at(thing, ago(60_000), async () => 2)).toBe(2);
});
