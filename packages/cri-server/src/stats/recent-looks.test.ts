import { expect, test, vi } from "vitest";
import { RecentLooks } from "./recent-looks.ts";

test("a look serves those who ask while it goes on and shortly after, and nobody later", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  using _ = { [Symbol.dispose]: () => vi.useRealTimers() };
  const looks = new RecentLooks<object, number>(500);
  const [thing, other] = [{}, {}];
  let count = 0;
  const look = async () => ++count;
  expect(await Promise.all([looks.at(thing, look), looks.at(thing, look)])).toEqual([1, 1]);
  vi.advanceTimersByTime(499);
  expect(await looks.at(thing, look)).toBe(1);
  expect(await looks.at(other, look)).toBe(2);
  vi.advanceTimersByTime(1);
  expect(await looks.at(thing, look)).toBe(3);
});

test("a look that fails is not kept", async () => {
  const looks = new RecentLooks<object, string>(60_000);
  const thing = {};
  await expect(looks.at(thing, () => Promise.reject(new Error("gone")))).rejects.toThrow("gone");
  expect(await looks.at(thing, async () => "there")).toBe("there");
});
