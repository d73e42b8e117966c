import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Sampler, type SamplerOptions } from "./sampler.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance", "setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
});

interface Thing {
  readonly name: string;
  atMs: number;
}

function sampling(count: number, options: Partial<SamplerOptions<Thing>> = {}) {
  const things = Array.from({ length: count }, (_, at) => ({ name: `t${at}`, atMs: performance.now() }));
  const looks: Thing[] = [];
  const silences: number[] = [];
  const sampler = new Sampler<Thing>({
    periodMs: 10_000,
    atOnce: 8,
    things: () => things,
    lastAtMs: ({ atMs }) => atMs,
    async look(thing) {
      thing.atMs = performance.now();
      looks.push(thing);
    },
    onSilence: () => silences.push(performance.now()),
    ...options,
  });
  const oldestMs = () => Math.max(...things.map(({ atMs }) => performance.now() - atMs));
  return { things, looks, silences, sampler, oldestMs };
}

test("while somebody asks once in a period, no look gets older than a period, and as many are made in each step", async () => {
  const { looks, sampler, oldestMs } = sampling(100);
  const inSteps: number[] = [];
  for (let step = 0; step < 200; step++) {
    if (step % 40 === 0) sampler.asked();
    const before = looks.length;
    await vi.advanceTimersByTimeAsync(250);
    inSteps.push(looks.length - before);
    expect(oldestMs()).toBeLessThan(10_000);
  }
  expect(Math.min(...inSteps)).toBeGreaterThanOrEqual(2);
  expect(Math.max(...inSteps)).toBeLessThanOrEqual(3);
});

test("the oldest comes first, and before it what was never looked at", async () => {
  const { things, looks, sampler } = sampling(40);
  things[7]!.atMs -= 1_000;
  things[3]!.atMs -= 2_000;
  const added = { name: "new", atMs: Number.NEGATIVE_INFINITY };
  things.push(added);
  sampler.asked();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(looks.slice(0, 3)).toEqual([added, things[3], things[7]]);
});

test("what a slow look has held up is made up for", async () => {
  let slow = true;
  const looks: Thing[] = [];
  const { things, sampler, oldestMs } = sampling(100, {
    async look(thing) {
      if (slow) await new Promise(resolve => setTimeout(resolve, 3_000));
      slow = false;
      thing.atMs = performance.now();
      looks.push(thing);
    },
  });
  sampler.asked();
  await vi.advanceTimersByTimeAsync(3_000);
  expect(looks).toHaveLength(0);
  await vi.advanceTimersByTimeAsync(6_999);
  expect(new Set(looks).size).toBe(things.length);
  expect(oldestMs()).toBeLessThan(10_000);
});

test("ends after two periods in which nobody asked, and begins again", async () => {
  const { looks, silences, sampler } = sampling(10);
  const began = performance.now();
  sampler.asked();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(silences).toEqual([began + 20_000]);
  expect(vi.getTimerCount()).toBe(0);
  const before = looks.length;
  expect(before).toBeGreaterThanOrEqual(20);
  sampler.asked();
  await vi.advanceTimersByTimeAsync(9_250);
  expect(looks.length).toBe(before + 10);
});

test("a look that fails stops nothing, nor does a thing that has gone", async () => {
  const looked = new Set<string>();
  const { things, sampler } = sampling(4, {
    periodMs: 1_000,
    look(thing) {
      thing.atMs = performance.now();
      looked.add(thing.name);
      return Promise.reject(new Error("gone"));
    },
  });
  things.shift();
  sampler.asked();
  await vi.advanceTimersByTimeAsync(1_500);
  expect([...looked].sort()).toEqual(["t1", "t2", "t3"]);
});

test("does nothing without a period, and once it is disposed of", async () => {
  const without = sampling(10, { periodMs: 0 });
  without.sampler.asked();
  const disposed = sampling(10);
  disposed.sampler.asked();
  disposed.sampler[Symbol.dispose]();
  disposed.sampler.asked();
  expect(vi.getTimerCount()).toBe(0);
  await vi.advanceTimersByTimeAsync(20_000);
  expect([...without.looks, ...disposed.looks]).toEqual([]);
});
