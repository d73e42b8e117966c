import { expect, test } from "vitest";
import { NameSet } from "./name-set.ts";

test("names that differ little are told apart, and each is known again", () => {
  const names = new NameSet();
  const all = Array.from({ length: 100_000 }, (_, at) => `usr/lib/d${at % 317}/${at.toString(36)}`);
  all.push("", "a", "A", "ab", "ba", "a/b", "\u00e9", "\udfffcaf\u00e9", "\0", "\0\0", "x".repeat(4096));
  expect(all.filter(name => !names.add(name))).toEqual([]);
  expect(all.filter(name => names.add(name))).toEqual([]);
});
