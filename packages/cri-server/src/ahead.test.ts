import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";
import { mapAhead } from "./ahead.ts";

test("keeps the order, and never works on more than it may", async () => {
  let atOnce = 0;
  let most = 0;
  const results = mapAhead([3, 1, 2, 0, 5], 2, async turns => {
    most = Math.max(most, ++atOnce);
    for (let count = 0; count < turns; count++) await turn();
    atOnce--;
    return turns;
  });
  expect(await Array.fromAsync(results)).toEqual([3, 1, 2, 0, 5]);
  expect(most).toBe(2);
});

test("begins nothing more once nobody listens, and a failure comes in its turn", async () => {
  const begun: number[] = [];
  const work = async (item: number) => {
    begun.push(item);
    if (item === 2) throw new Error("two");
    return item;
  };
  for await (const item of mapAhead([0, 1, 2, 3, 4, 5, 6], 2, work)) if (item === 1) break;
  expect(begun).toEqual([0, 1, 2, 3]);
  const seen: number[] = [];
  const all = async () => {
    for await (const item of mapAhead([0, 1, 2, 3], 4, work)) seen.push(item);
  };
  await expect(all()).rejects.toThrow("two");
  expect(seen).toEqual([0, 1]);
});
