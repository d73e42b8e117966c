import { expect, test } from "vitest";
import { chartPaths } from "./static/chart.js";
import { matches, sortRows } from "./static/table.js";
import { formatAge, formatBytes, formatPercent, formatRate } from "./static/units.js";

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.00 kB"],
  [9_999, "10.0 kB"],
  [999_999, "1.00 MB"],
  [67_108_864, "67.1 MB"],
  [5e15, "5000 TB"],
])("%s bytes are %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

test("rates, shares and ages say when they are not known", () => {
  expect([formatRate(null), formatRate(1500.4)]).toEqual(["…", "1.50 kB/s"]);
  expect([formatPercent(null), formatPercent(0), formatPercent(250.3)]).toEqual(["…", "0.0 %", "250 %"]);
  const ages = [0, 59_000, 60_000, 7_200_000, 3 * 86_400_000].map(ago => formatAge(1e12 - ago, 1e12));
  expect(ages).toEqual(["0 s", "59 s", "1 min", "2 h", "3 d"]);
});

test("rows are sorted as numbers or as words, and the equal ones stay as they came", () => {
  const rows = [
    { name: "b", use: 10 },
    { name: "a", use: 9 },
    { name: "c", use: 9 },
  ];
  const names = (by: "name" | "use", descending: boolean) =>
    sortRows(rows, row => row[by], descending).map(({ name }) => name);
  expect(names("name", false)).toEqual(["a", "b", "c"]);
  expect(names("use", true)).toEqual(["b", "a", "c"]);
  expect(names("use", false)).toEqual(["a", "c", "b"]);
});

test("a filter wants all its words, in whatever case and wherever", () => {
  expect(matches(["shop/web", "registry/Frontend:1"], "WEB front")).toBe(true);
  expect(matches(["shop/web"], "web job")).toBe(false);
  expect(matches([], "")).toBe(true);
});

test("a chart ends at the right with the newest value, within its frame", () => {
  expect(chartPaths([1], 1)).toEqual({ line: "", area: "" });
  const { line, area } = chartPaths([0, 5, 20], 10);
  expect(line).toBe("M77.3 21L78.6 11L80 1");
  expect(area).toBe(`${line}L80 22L77.3 22Z`);
});
