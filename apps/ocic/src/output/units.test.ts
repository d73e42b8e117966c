import { expect, test } from "vitest";
import { table } from "./table.ts";
import { formatAge, formatBytes, shortId } from "./units.ts";

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [4_266_000, "4.27 MB"],
  [1_500_000_000_000_000, "1500 TB"],
])("%d bytes are %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  [0, "0 seconds ago"],
  [61, "1 minute ago"],
  [7_300, "2 hours ago"],
  [86_400 * 800, "2 years ago"],
])("%d s since is %s", (seconds, text) => {
  const now = new Date("2026-01-01T00:00:00Z");
  expect(formatAge(new Date(now.getTime() - seconds * 1000), now)).toBe(text);
});

test("an id is cut to 12 characters", () => {
  expect(shortId(`sha256:${"ab".repeat(32)}`)).toBe("abababababab");
});

test("columns line up", () => {
  expect(
    table(
      ["id", "name"],
      [
        ["1", "a"],
        ["22", "bb"],
      ],
    ),
  ).toBe("ID  NAME\n1   a\n22  bb\n");
});
