import { expect, test } from "vitest";
import { bigDataFile } from "./big-data.ts";

test.each([
  ["manifest", "manifest"],
  ["a.b9", "a.b9"],
  ["abC", "abC"],
  ["A", "A"],
  ["é", "é"],
  ["aBc", "=YUJj"],
  ["a/b", "=YS9i"],
  ["..", "=Li4="],
  ["/", "=Lw=="],
  ["sha256:00", "=c2hhMjU2OjAw"],
])("%j is kept in the file %s", (key, file) => {
  expect(bigDataFile(key)).toBe(file);
});

test("a key whose base64 is a path is refused", () => {
  expect(() => bigDataFile("???a")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
});
