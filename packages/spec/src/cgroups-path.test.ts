import { expect, test } from "vitest";
import { parseSystemdCgroup, sliceDirectory } from "./cgroups-path.ts";

test.each([
  ["system.slice", "/system.slice"],
  [
    "kubepods-burstable-pod1_2.slice",
    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice",
  ],
  ["-.slice", "/"],
])("%s lies in %s", (slice, directory) => {
  expect(sliceDirectory(slice)).toBe(directory);
});

test("a scope lies in its slice", () => {
  expect(parseSystemdCgroup("kubepods-pod1.slice:ocid:abc")).toEqual({
    slice: "kubepods-pod1.slice",
    scope: "ocid-abc.scope",
    directory: "/kubepods.slice/kubepods-pod1.slice/ocid-abc.scope",
  });
  expect(parseSystemdCgroup("-.slice:ocid:abc").directory).toBe("/ocid-abc.scope");
});

test.each([
  "/kubepods/abc",
  "a.slice:b",
  "a.slice::c",
  "a--b.slice:x:y",
  "a/b.slice:x:y",
  "a.slice:x:y:z",
  "",
])("%j is refused", path => {
  expect(() => parseSystemdCgroup(path)).toThrow(/slice:prefix:name/);
});
