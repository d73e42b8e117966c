import { expect, test } from "vitest";
import { parseFeatures } from "./runtime-features.ts";

test.each([
  ['{"mountOptions":["ro","rro"],"linux":{"namespaces":["pid","user"]}}', true, true],
  ['{"mountOptions":["ro"],"linux":{"namespaces":["pid"]}}', false, false],
  ['{"mountOptions":"rro","linux":null}', false, false],
  ["null", false, false],
  ["runc: unknown command features", false, false],
])("%s", (text, recursiveReadOnlyMounts, userNamespaces) => {
  expect(parseFeatures(text)).toEqual({ recursiveReadOnlyMounts, userNamespaces });
});
