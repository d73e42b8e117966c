import { expect, test } from "vitest";
import { OneTimeTokens } from "./one-time-tokens.ts";

test("a token works once", () => {
  const tokens = new OneTimeTokens<string>();
  const token = tokens.issue("exec");
  expect(token).toMatch(/^[\w-]{22}$/);
  expect(tokens.redeem(token)).toBe("exec");
  expect(tokens.redeem(token)).toBeUndefined();
  expect(tokens.redeem("guess")).toBeUndefined();
});

test("a token that is too old does not work", () => {
  const tokens = new OneTimeTokens<string>({ lifetimeMs: -1 });
  expect(tokens.redeem(tokens.issue("exec"))).toBeUndefined();
});

test("the oldest gives way when there are too many", () => {
  const tokens = new OneTimeTokens<number>({ max: 2 });
  const [first, second, third] = [1, 2, 3].map(number => tokens.issue(number));
  expect([first, second, third].map(token => tokens.redeem(token!))).toEqual([undefined, 2, 3]);
});
