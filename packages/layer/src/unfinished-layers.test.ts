import { expect, test } from "vitest";
import { UnfinishedLayers } from "./unfinished-layers.ts";

const megabyte = 1024 * 1024;

test("a layer that outweighs all others would go on alone, one that is small would not for long", () => {
  const layers = new UnfinishedLayers();
  const [large, middle, small] = [{}, {}, {}];
  layers.begin(large, 100 * megabyte);
  layers.begin(middle, 60 * megabyte);
  layers.begin(small, 3 * megabyte);
  expect([large, middle, small].map(layer => layers.isLast(layer))).toEqual([true, false, false]);
  layers.note(large, 70 * megabyte);
  expect(layers.isLast(large)).toBe(false);
  layers.end(large);
  layers.end(middle);
  expect(layers.isLast(small)).toBe(false);
});

test("the last of equals would go on alone once the others have had most of theirs", () => {
  const layers = new UnfinishedLayers();
  const [first, second, third] = [{}, {}, {}];
  for (const layer of [first, second, third]) layers.begin(layer, 90 * megabyte);
  expect([first, second, third].map(layer => layers.isLast(layer))).toEqual([false, false, false]);
  layers.note(second, 20 * megabyte);
  layers.end(first);
  layers.note(first, 0);
  expect(layers.isLast(third)).toBe(true);
  layers.note(second, 90 * megabyte);
  expect(layers.isLast(third)).toBe(false);
});
