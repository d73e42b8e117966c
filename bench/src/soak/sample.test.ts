import { expect, test } from "vitest";
import { drawCourses, growthOf, type Measure, measures, type Sample } from "./sample.ts";

const sample = (at: number, values: Partial<Record<Measure, number>> = {}): Sample => ({
  at,
  values: {
    ...(Object.fromEntries(measures.map(measure => [measure, 10])) as Record<Measure, number>),
    ...values,
  },
});

test("what stays within the first minute's values and their allowance has not grown", () => {
  expect(
    growthOf([sample(20), sample(50, { mounts: 12 }), sample(80, { mounts: 12, descriptors: 18 })]),
  ).toEqual([]);
  expect(growthOf([sample(70)])).toEqual([]);
});

test("one mount more than in the first minute is growth, and is named", () => {
  const grown = growthOf([sample(30), sample(55), sample(90, { mounts: 11, "disk MB": 17 }), sample(120)]);
  expect(grown).toEqual([
    "mounts: 11.0, where at most 10.0 were to be",
    "disk MB: 17.0, where at most 16.0 were to be",
  ]);
});

test("memory has grown when it does not fall back, not when it is collected late", () => {
  const course = (values: readonly number[]) =>
    growthOf([
      ...[20, 40].map(at => sample(at, { "RSS MB": 100 })),
      ...values.map((value, at) => sample(70 + at, { "RSS MB": value })),
    ]);
  expect(course([140, 180, 210, 220, 135, 190, 200, 210, 129])).toEqual([]);
  expect(course([140, 150, 151, 152, 153, 154])).toEqual(["RSS MB: 150.0, where at most 148.0 were to be"]);
});

test("a course is drawn between its own smallest and largest value", () => {
  const lines = drawCourses([sample(0, { mounts: 1 }), sample(1, { mounts: 8 })]).split("\n");
  expect(lines.find(line => line.startsWith("mounts"))).toMatch(/▁█ {2}1\.0 to 8\.0$/);
  expect(lines.find(line => line.startsWith("cgroups"))).toMatch(/▁▁ {2}10$/);
});
