import { expect, test } from "vitest";
import { parseRetryAfter } from "./retry-after.ts";

const now = Date.parse("2026-01-01T00:00:00Z");

test.each([
  ["0", 0],
  ["120", 120_000],
  ["Thu, 01 Jan 2026 00:00:30 GMT", 30_000],
  ["Wed, 31 Dec 2025 00:00:00 GMT", 0],
  ["-1", undefined],
  ["soon", undefined],
  ["1e9", undefined],
  [undefined, undefined],
])("Retry-After %j is %j ms", (header, wait) => {
  expect(parseRetryAfter(header, now)).toBe(wait);
});
