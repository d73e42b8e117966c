import { expect, test } from "vitest";
import { randomHex } from "./random-hex.ts";

test("names are of the length asked for, and no two alike", () => {
  const names = Array.from({ length: 1_000 }, (_, at) => randomHex(8 + (at % 25)));
  for (const [at, name] of names.entries())
    expect(name).toMatch(new RegExp(`^[0-9a-f]{${16 + 2 * (at % 25)}}$`));
  expect(new Set(names.map(name => name.slice(0, 16))).size).toBe(names.length);
  expect(randomHex(1024)).toHaveLength(2048);
  expect(() => randomHex(1025)).toThrow(RangeError);
});
