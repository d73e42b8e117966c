import { expect, test } from "vitest";
import { Pace } from "./pace.ts";

test("a sender that drips is given up after a window, one that is steady is not", () => {
  const dripping = new Pace({ windowMs: 1000, bytesPerSecond: 100 });
  for (let at = 0; at < 9; at++) dripping.note(1, 100, "host");
  expect(() => dripping.note(1, 100, "host")).toThrow(/host sends 10 bytes in a second/);
  const steady = new Pace({ windowMs: 1000, bytesPerSecond: 100 });
  for (let at = 0; at < 100; at++) steady.note(11, 100, "host");
});

test("a window begins anew after each judgement", () => {
  const pace = new Pace({ windowMs: 1000, bytesPerSecond: 100 });
  pace.note(1_000_000, 1000, "host");
  expect(() => pace.note(1, 1000, "host")).toThrow(/too slow/);
});
